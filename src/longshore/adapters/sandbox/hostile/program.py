# SPDX-License-Identifier: Apache-2.0
"""A hostile handler: it tries one thing that no handler may, and says how far it came.

The package of a cell of its own; standard library only. Outside of any sandbox the same program reads its
event from standard input and prints its answer: there it has to succeed.

event     {"attack": NAME, and what victims.py says of the victims}
answer    {"open": true | false | null, "words": ...}     null: others have to see what came of it
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

NUMBERS = {
    "x86_64": {"keyctl": 250, "userfaultfd": 323, "io_uring_setup": 425},
    "aarch64": {"keyctl": 219, "userfaultfd": 282, "io_uring_setup": 425},
}
KEYCTL_GET_KEYRING_ID, SESSION_KEYRING = 0, -3
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
CLONE_NEWUSER = 0x10000000
AF_VSOCK = 40
O_TMPFILE = 0o20200000
GET_ROUTE, ROUTE, ERROR, UNICAST = 26, 24, 2, 1
CONNECT_WITHIN_S = 1.5
MB = 2**20


Event = dict[str, Any]


def inherited() -> list[str]:
    """What this process has open beside its standard input and outputs, and its client's own connection to
    the Runtime API."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            what = os.readlink("/proc/self/fd/" + name)
            if int(name) > 2 and not leads_to_api(int(name), what):
                found.append(what)
    return found


def leads_to_api(number: int, what: str) -> bool:
    """Whether it is the client's connection."""
    host, _, port = os.environ.get("AWS_LAMBDA_RUNTIME_API", "").partition(":")
    if not (what.startswith("socket:") and port.isdigit()):
        return False
    with socket.socket(fileno=os.dup(number)) as one, contextlib.suppress(OSError):
        return one.family == socket.AF_INET and one.getpeername() == (host, int(port))
    return False


INHERITED = inherited()
"""As it was when the code was loaded: later its client has more of its own."""


class Shut(Exception):
    """It did not come off, and this is what it met."""


def handler(event: Event, context: object = None) -> dict[str, Any]:
    """Try it."""
    try:
        words = ATTACKS[event["attack"]](event)
    except OSError as error:
        return {"open": False, "words": error.strerror or str(error)}
    except Shut as met:
        return {"open": False, "words": str(met)}
    return {"open": None if event["attack"] in SEEN_OUTSIDE else True, "words": words}


def files(event: Event) -> str:
    """Read what only the server may read: a file of mode 0600, the master key, /etc/shadow."""
    met = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for place in event["secrets"]:
        try:
            with open(place, "rb") as file:
                file.read(1)
        except OSError as error:
            met = error
        else:
            return f"{place} was read"
    raise met


def code(event: Event) -> str:
    """Read the code of another task."""
    with open(event["code"], "rb") as file:
        file.read(1)
    return "it was read"


def processes(event: Event) -> str:
    """See processes of this machine."""
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    for name in seen:
        if event["marker"].encode() in content("/proc/" + name + "/cmdline"):
            return f"process {name} of this machine is to be seen"
    raise Shut(f"only the {len(seen)} processes of its own sandbox are to be seen")


def signals(event: Event) -> str:
    """Send a signal to a process of the platform."""
    os.kill(event["process"], signal.SIGUSR1)
    return "a signal was sent"


def trace(event: Event) -> str:
    """Seize a process of the platform with ptrace."""
    called("ptrace", PTRACE_SEIZE, event["process"], 0, 0)
    libc().ptrace(PTRACE_DETACH, event["process"], 0, 0)
    return "the process was seized"


def loopback(event: Event) -> str:
    """Connect to a service on this machine's loopback."""
    return connected([("127.0.0.1", event["port"]), ("::1", event["port"])])


def abstract(event: Event) -> str:
    """Connect to an abstract unix socket of the platform."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + event["marker"])
    return "it was connected to"


def core_pattern(event: Event) -> str:
    """Open /proc/sys/kernel/core_pattern for writing."""
    with open("/proc/sys/kernel/core_pattern", "r+b", 0):
        return "it could be written: a way to root"


def user_namespace(event: Event) -> str:
    """Make a user namespace inside."""
    child = os.fork()
    if not child:
        done = libc().unshare(CLONE_NEWUSER)
        os._exit(ctypes.get_errno() if done else 0)
    number = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if number:
        raise OSError(number, os.strerror(number))
    return "one was made"


def keys(event: Event) -> str:
    """Reach a kernel keyring (keyctl)."""
    return f"keyring {syscall('keyctl', KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0)} was found"


def page_faults(event: Event) -> str:
    """Handle page faults itself (userfaultfd)."""
    os.close(syscall("userfaultfd", 1))
    return "a descriptor was had"


def rings(event: Event) -> str:
    """Set up an io_uring."""
    os.close(syscall("io_uring_setup", 8, ctypes.create_string_buffer(248)))
    return "a ring was had"


def vsock(event: Event) -> str:
    """Open a socket to the hypervisor (AF_VSOCK)."""
    socket.socket(AF_VSOCK, socket.SOCK_STREAM).close()
    return "a socket was had"


def sys_tree(event: Event) -> str:
    """Look into /sys."""
    found = os.listdir("/sys")
    if not found:
        raise Shut("it is empty")
    return f"it has {len(found)} entries"


def write_code(event: Event) -> str:
    """Write where its own code is."""
    return writable(os.environ.get("LAMBDA_TASK_ROOT") or os.path.dirname(os.path.abspath(__file__)))


def write_usr(event: Event) -> str:
    """Write into /usr."""
    return writable("/usr")


def descriptors(event: Event) -> str:
    """Find a descriptor that it inherited."""
    if not INHERITED:
        raise Shut("none but its standard input and outputs, and its client's own")
    return f"it has {INHERITED[0]}"


def fill(event: Event) -> str:
    """Fill /tmp, /output and /dev/shm beyond its disk."""
    for place in event["fill"]:
        stopped: OSError | None = None
        names = [f"{place}/longshore-{number}" for number in range(event["fill_mb"])]
        try:
            for name in names:
                with open(name, "wb") as file:
                    file.write(b"x" * MB)
        except OSError as error:
            stopped = error
        finally:
            for name in filter(os.path.exists, names):
                os.unlink(name)
        if stopped is None:
            return f"{event['fill_mb']} MB went into {place}"
    raise Shut("each ends in: no space left")


def fork_bomb(event: Event) -> str:
    """Start more processes than it may."""
    children: list[int] = []
    try:
        for _ in range(event["forks"]):
            child = os.fork()
            if not child:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError as error:
        raise Shut(f"stopped at {len(children)} processes: {error.strerror}") from error
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{len(children)} processes were there at once"


def memory(event: Event) -> str:
    """Take more memory than it may."""
    held = [b"x" * (16 * MB) for _ in range(0, event["memory_mb"], 16)]
    return f"{16 * len(held)} MB were held"


def daemon(event: Event) -> str:
    """Leave a process behind that outlives the run."""
    there, here = os.pipe()
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        words = [sys.executable, "-c", "import time; time.sleep(600)", event["daemon"]]
        os.execv(words[0], words)  # noqa: S606
    os.wait()
    os.close(here)
    os.read(there, 1)  # which ends when the last of them has become another program
    return "a process was left behind"


def environment(event: Event) -> str:
    """Read the environment of the server, by /proc/1/environ and all others."""
    found = [name for name in os.listdir("/proc") if name.isdigit()]
    for name in ["self", *found]:
        if event["token"].encode() in content("/proc/" + name + "/environ"):
            return f"process {name} has it"
    raise Shut("no process that is to be seen has any of it")


def metadata(event: Event) -> str:
    """Find a way to the metadata service of a cloud (the kernel is asked; nothing is sent)."""
    for ip in event["metadata"]:
        if has_way(ip):
            return f"there is a way to {ip}"
    raise Shut("there is no way there")


def addresses(event: Event) -> str:
    """Connect to a service on the machine's other addresses."""
    return connected([(ip, event["port"]) for ip in event["own"]])


def gateway(event: Event) -> str:
    """Connect to a service on the machine's loopback by way of the gateway."""
    ways = gateways()
    if not ways:
        raise Shut("there is no gateway")
    return connected([(ip, event["port"]) for ip in ways])


ATTACKS = {
    function.__name__: function
    for function in (
        *(files, code, processes, signals, trace, loopback, abstract, core_pattern, user_namespace, keys),
        *(page_faults, rings, vsock, sys_tree, write_code, write_usr, descriptors, fill, fork_bomb, memory),
        *(daemon, environment, metadata, addresses, gateway),
    )
}
SEEN_OUTSIDE = ("signals", "daemon")


def libc() -> ctypes.CDLL:
    """Ours."""
    return ctypes.CDLL(None, use_errno=True)


def called(name: str, *words: Any) -> int:
    """Of the C library; raises OSError."""
    ctypes.set_errno(0)
    done = int(getattr(libc(), name)(*words))
    if done == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done


def syscall(name: str, *words: Any) -> int:
    """By its number on this processor; raises OSError."""
    return called("syscall", NUMBERS[os.uname().machine][name], *words)


def content(path: str) -> bytes:
    """All of a file, nothing where it cannot be had."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def writable(place: str) -> str:
    """Leaves nothing: the file has no name, or is not made at all."""
    try:
        os.close(os.open(place, os.O_WRONLY | O_TMPFILE, 0o600))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        if not os.access(place, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES)) from error
    return place + " can be written"


def connected(places: Sequence[tuple[str, int]]) -> str:
    """To the first that answers."""
    met = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    for ip, port in places:
        try:
            with socket.create_connection((ip, port), timeout=CONNECT_WITHIN_S):
                return ip + " was connected to"
        except TimeoutError:
            met = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        except OSError as error:
            met = error
    raise met


def has_way(ip: str) -> bool:
    """Whether the kernel knows a way to an address."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    packed = socket.inet_pton(family, ip)
    asked = struct.pack("=BBBBBBBBI", family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    asked += struct.pack("=HH", 4 + len(packed), 1) + packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(asked), GET_ROUTE, 1, 1, 0) + asked)
        said = kernel.recv(4096)
    kind = struct.unpack_from("=H", said, 4)[0]
    return kind == ROUTE and said[16 + 7] == UNICAST


def gateways() -> list[str]:
    """Of the default routes."""
    found: list[str] = []
    for line in content("/proc/net/route").decode().splitlines()[1:]:
        words = line.split()
        if words[1] == "00000000" and words[2] != "00000000":
            found.append(socket.inet_ntop(socket.AF_INET, struct.pack("=I", int(words[2], 16))))
    for line in content("/proc/net/ipv6_route").decode().splitlines():
        words = line.split()
        if words[0] == "0" * 32 and words[1] == "00" and words[4] != "0" * 32:
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[4])))
    return found


if __name__ == "__main__":
    print(json.dumps(handler(json.load(sys.stdin))))
