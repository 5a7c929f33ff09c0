# SPDX-License-Identifier: Apache-2.0
"""What a hostile handler finds when it tries the doors: every one of them is shut."""

import os
import socket

import pytest
from tests.sandbox.cells import Bench, Heard, processes_with, until_exit, until_said

pytestmark = pytest.mark.anyio

ATTEMPTS = """
import ctypes, errno, json, os, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": dict(keyctl=250, userfaultfd=323, io_uring_setup=425, unshare=272, mount=165, ptrace=101,
                   bpf=321, perf_event_open=298, clone3=435, setns=308, pidfd_getfd=438),
    "aarch64": dict(keyctl=219, userfaultfd=282, io_uring_setup=425, unshare=97, mount=40, ptrace=117,
                    bpf=280, perf_event_open=241, clone3=435, setns=268, pidfd_getfd=438),
}[os.uname().machine]
found = {}

def attempt(name, what):
    try:
        found[name] = f"OPEN {what()!r}"[:200]
    except BaseException as error:
        found[name] = type(error).__name__

def call(name, *words):
    ctypes.set_errno(0)
    if libc.syscall(NUMBERS[name], *words) == -1:
        found[name] = errno.errorcode[ctypes.get_errno()]
    else:
        found[name] = "OPEN"

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)
        return "connected"

def flagged_clone():
    CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    pid = libc.syscall(number, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    return pid
"""

SHUT = """
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("data", lambda: os.listdir(os.environ["DATA"]))
attempt("home", lambda: os.listdir("/root"))
attempt("loopback", lambda: connect(socket.AF_INET, ("127.0.0.1", int(os.environ["PORT"]))))
attempt("abstract", lambda: connect(socket.AF_UNIX, "\\0" + os.environ["ABSTRACT"]))
attempt("metadata", lambda: connect(socket.AF_INET, ("169.254.169.254", 80)))
attempt("core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"))
attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w"))
attempt("sys", lambda: os.listdir("/sys"))
attempt("cgroups", lambda: os.listdir("/sys/fs/cgroup"))
attempt("write_code", lambda: open("/var/task/evil.py", "w"))
attempt("write_runtime", lambda: open("/var/runtime/evil.py", "w"))
attempt("write_usr", lambda: open("/usr/evil", "w"))
attempt("write_root", lambda: open("/evil", "w"))
attempt("write_etc", lambda: open("/etc/passwd", "w"))
attempt("write_dev", lambda: open("/dev/evil", "w"))
attempt("write_launcher", lambda: open("/run/longshore/launcher.py", "w"))
attempt("disk", lambda: open("/dev/sda", "rb"))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("chown", lambda: os.chown("/tmp", 0, 0))
attempt("setuid", lambda: os.setuid(0))
attempt("clone", flagged_clone)
attempt("kill_all", lambda: os.kill(1, 9) or os.kill(1, 0))
call("keyctl", 0, -3, 1)
call("userfaultfd", 1)
call("io_uring_setup", 8, 0)
call("clone3", 0, 0)
call("unshare", 0x10000000)
call("setns", 0, 0)
call("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
call("ptrace", 16, 1, 0, 0)
call("bpf", 0, 0, 0)
call("perf_event_open", 0, 0, -1, -1, 0)
call("pidfd_getfd", 0, 0, 0)
del found["kill_all"]
print(json.dumps(found))
sys.stdout.flush()
os._exit(0)
"""


async def test_every_door_is_shut(walled: Bench) -> None:
    name = f"longshore-test-{os.getpid()}"
    (walled.place / "secret").write_text("a secret")
    with socket.socket() as port, socket.socket(socket.AF_UNIX) as abstract:
        port.bind(("127.0.0.1", 0))
        port.listen()
        abstract.bind("\0" + name)
        abstract.listen()
        doors = {"PORT": str(port.getsockname()[1]), "ABSTRACT": name, "DATA": str(walled.place)}

        ended, heard = await walled.ran(ATTEMPTS + SHUT, environment=doors)

    assert ended.code == 0, heard.err
    found = heard.json()
    assert {name: said for name, said in found.items() if said.startswith("OPEN")} == {}
    refused = ("keyctl", "userfaultfd", "unshare", "setns", "mount", "ptrace", "bpf", "pidfd_getfd")
    assert {found[name] for name in (*refused, "perf_event_open")} == {"EPERM"}
    assert {found["io_uring_setup"], found["clone3"]} == {"ENOSYS"}
    assert len(found) >= 30


async def test_no_host_process_is_to_be_seen_and_the_first_one_has_no_environment(walled: Bench) -> None:
    code = """
    import json, os, sys
    found = {"pids": [int(name) for name in os.listdir("/proc") if name.isdigit()]}
    found["environ"] = {}
    for pid in (1, 2):
        try:
            found["environ"][pid] = open(f"/proc/{pid}/environ").read()
        except OSError as error:
            found["environ"][pid] = ""
    found["uid"] = [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]
    found["name"] = os.uname().nodename
    print(json.dumps(found), flush=True)
    os._exit(0)
    """

    _, heard = await walled.ran(code, environment={"TOKEN": "of-the-run"})

    found = heard.json()
    assert max(found["pids"]) < 10
    assert "of-the-run" not in str(found["environ"])
    assert "PATH=" not in found["environ"]["1"]
    assert "HOME=" not in found["environ"]["1"]
    assert found["uid"][:3] == [993, 993, 990]
    assert set(found["uid"][3]) <= {990, 65534}
    assert found["name"] == "task"


async def test_no_descriptor_comes_along(bench: Bench) -> None:
    code = """
    import json, os
    numbers = [number for number in range(1024) if os.path.lexists(f"/proc/self/fd/{number}")]
    print(json.dumps({number: os.readlink(f"/proc/self/fd/{number}") for number in numbers}), flush=True)
    os._exit(0)
    """
    with open(__file__) as secret:
        os.set_inheritable(secret.fileno(), True)

        _, heard = await bench.ran(code)

    found = heard.json()
    assert found.pop("0") == "/dev/null"
    assert found.pop("1").startswith("pipe:")
    assert found.pop("2").startswith("pipe:")
    assert found == {}


async def test_the_environment_is_in_no_command_line(bench: Bench) -> None:
    secret = "the-environment-of-this-test"
    cell = await bench.begun("print('here', flush=True)\nimport time\ntime.sleep(600)", {"SECRET": secret})
    try:
        await until_said(cell, Heard(), b"here")
        runtimes, betrayed = processes_with("python.py app.handler"), processes_with(secret)
    finally:
        await cell.kill()

    assert runtimes
    assert betrayed == []


async def test_memory_file_systems_are_bounded_and_end_in_no_space_left(walled: Bench) -> None:
    code = """
    import errno, json, os
    found = {}
    for place, most in (("/tmp", 48), ("/dev/shm", 80), ("/output", 48)):
        written = 0
        try:
            for number in range(most):
                with open(f"{place}/{number}", "wb") as file:
                    file.write(b"x" * 2**20)
                written += 1
        except OSError as error:
            found[place] = [errno.errorcode[error.errno], written]
    print(json.dumps(found), flush=True)
    os._exit(0)
    """

    ended, heard = await walled.ran(code, memory_mb=64, disk_mb=32)

    assert ended.code == 0, (ended, heard)
    found = heard.json()
    assert {place: said[0] for place, said in found.items()} == dict.fromkeys(
        ("/tmp", "/dev/shm", "/output"), "ENOSPC"
    )
    assert [found[place][1] for place in ("/tmp", "/dev/shm", "/output")] == [32, 64, 32]


async def test_a_fork_bomb_is_bounded(walled: Bench) -> None:
    code = """
    import json, os, time
    children = 0
    try:
        for _ in range(500):
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            children += 1
    except OSError as error:
        pass
    print(json.dumps(children), flush=True)
    os._exit(0)
    """

    ended, heard = await walled.ran(code, pids=48)

    assert ended.code == 0, heard.err
    assert 32 <= heard.json() <= 53


async def test_limits_on_files_and_core_dumps_hold(bench: Bench) -> None:
    code = """
    import errno, json, os, resource
    found = {"core": resource.getrlimit(resource.RLIMIT_CORE)}
    found["locked"] = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    opened = []
    try:
        while True:
            opened.append(open("/dev/null"))
    except OSError as error:
        found["files"] = [errno.errorcode[error.errno], len(opened)]
    for file in opened:
        file.close()
    print(json.dumps(found), flush=True)
    os._exit(0)
    """

    _, heard = await bench.ran(code)

    found = heard.json()
    assert found["core"] == [0, 0]
    assert found["locked"][1] <= 64 * 1024
    assert found["files"][0] == "EMFILE"
    assert found["files"][1] < 1024


async def test_cpu_time_is_a_quota(walled: Bench) -> None:
    if walled.sandbox.isolation.level != "strict":
        pytest.skip("no cpu control group in this kind, as its words say")
    code = """
    import os, time
    until = time.monotonic() + 2
    for _ in range(3):
        if os.fork() == 0:
            break
    while time.monotonic() < until:
        pass
    os._exit(0)
    """
    cell = await walled.begun(code, cpus=0.5)
    try:
        await until_exit(cell, Heard())
        used = cell.usage()
    finally:
        await cell.kill()

    assert 400 < used.cpu_ms < 1900
