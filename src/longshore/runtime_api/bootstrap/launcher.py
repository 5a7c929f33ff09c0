# SPDX-License-Identifier: Apache-2.0
"""The first program inside a cell. It is copied there and knows nothing but the standard library.

    outside ◀── ready  + [listening: the Runtime API, the platform; the directory of /output]
    outside ──▶ prepare, , NAME=value ...           the runtime starts and imports its client: nobody's yet
    outside ◀── prepared
    outside ──▶ start, handler, NAME=value ...      fork, exec of the runtime with exactly this environment;
                                                    or, when one waits already, it is handed to that
    outside ──▶ terminate                           SIGTERM to the runtime
    outside ◀── exit, wait status, peak kB, CPU µs

A frame is its length (4 bytes, big-endian) and fields with NULs between them: an environment has no NUL
either, and json, socket, signal would double the time until `ready`. When the outside closes its end, all is
over.

usage: launcher.py control=FD port=N platform=N output=DIR adopt=0|1 [nice=N] [limit=RESOURCE:N ...]

`adopt=1` is for life without a pid namespace: the runtime's orphans stay below this process and end with it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself imports enum: 5 ms
import _socket
import _thread
import os
import resource
import sys

PARENT_OF_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
FIRST_VICTIM = b"900"
CANNOT_START = 127


class Closed(Exception):
    """The outside has closed its end."""


class Outside:
    """Frames to and from whoever made this cell."""

    def __init__(self, number: int) -> None:
        os.set_inheritable(number, False)
        self._socket = _socket.socket(fileno=number)

    def ready(self, doors: list[_socket.socket], output: int) -> None:
        """Hand over what they need to serve and to collect."""
        all_of_it = [*(door.fileno() for door in doors), output]
        numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in all_of_it)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)
        self._socket.sendmsg([_framed([b"ready"])], [rights])

    def say(self, *fields: bytes) -> None:
        """Send one frame."""
        self._socket.sendall(_framed(fields))

    def hear(self) -> list[bytes]:
        """The next frame."""
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size).split(b"\0")

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = self._socket.recv(min(size, 65536))
            except OSError:
                part = b""
            if not part:
                raise Closed
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Runtime:
    """The runtime's process. The lock keeps a signal from reaching a stranger with its number."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = _thread.allocate_lock()
        self._over = False

    def terminate(self) -> None:
        """Ask it to end."""
        with self._lock:
            if not self._over:
                os.kill(self._pid, _signal.SIGTERM)

    def wait(self) -> tuple[int, resource.struct_rusage]:
        """Its wait status and what it took. Strangers that end before it are buried on the way."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if ended is None:
                continue
            with self._lock:
                _, status, took = os.wait4(ended.si_pid, 0)
                self._over = ended.si_pid == self._pid
            if self._over:
                return status, took


def main(words: list[str]) -> None:
    """Open the door, hand it out, wait for work."""
    given = dict(word.split("=", 1) for word in words if not word.startswith("limit="))
    for word in words:
        if word.startswith("limit="):
            limit(*word[6:].split(":"))
    os.nice(int(given.get("nice", "0")))
    alone = given["adopt"] == "1"
    if alone:
        adopt_orphans()
    outside = Outside(int(given["control"]))
    doors = [listening(int(given["port"])), listening(int(given["platform"]))]
    output = os.open(given["output"], os.O_RDONLY | os.O_DIRECTORY)
    outside.ready(doors, output)
    for door in doors:
        door.close()
    os.close(output)
    try:
        live(outside, alone)
    finally:
        if alone:
            end_descendants()
        os._exit(0)


def listening(port: int) -> _socket.socket:
    """A door on the loopback."""
    door = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    door.bind(("127.0.0.1", port))
    door.listen(128)
    return door


def live(outside: Outside, alone: bool) -> None:
    """Start the runtime when told to, report its end, stay until the outside goes."""
    try:
        verb, handler, *environment = outside.hear()
        waiting = None
        if verb == b"prepare":
            waiting = Waiting(environment)
            outside.say(b"prepared")
            verb, handler, *environment = outside.hear()
    except (Closed, OSError):
        return
    if verb != b"start":
        return
    if waiting is None:
        runtime = Runtime(start([handler], environment))
    else:
        runtime = Runtime(waiting.pid)
        waiting.hand_over(handler, environment)
    _thread.start_new_thread(obey, (outside, runtime, alone))
    status, took = runtime.wait()
    cpu = int((took.ru_utime + took.ru_stime) * 1e6)
    try:
        outside.say(b"exit", b"%d" % status, b"%d" % took.ru_maxrss, b"%d" % cpu)
    except OSError:
        return
    bury()


class Waiting:
    """A runtime that has imported its client and waits for its handler at the other end of a pair."""

    def __init__(self, environment: list[bytes]) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        os.set_inheritable(theirs.fileno(), True)
        self._pair = ours
        self.pid = start([b"prepared", b"%d" % theirs.fileno()], environment)
        theirs.close()
        if not ours.recv(1):
            raise Closed

    def hand_over(self, handler: bytes, environment: list[bytes]) -> None:
        """Whether it still lives shows when it is waited for."""
        try:
            self._pair.sendall(_framed([handler, *environment]))
        except OSError:
            return
        finally:
            self._pair.close()


def start(arguments: list[bytes], environment: list[bytes]) -> int:
    """The runtime's process. It is what the kernel takes first when memory runs short."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python.py")
    variables = dict(pair.split(b"=", 1) for pair in environment)
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        offer_as_victim()
        words = [os.fsencode(sys.executable), os.fsencode(program), *arguments]
        os.execve(words[0], words, variables)  # noqa: S606  (the point is that there is no shell)
    except OSError as error:
        os.write(2, b"the runtime could not be started: %s\n" % str(error).encode())
    finally:
        os._exit(CANNOT_START)


def offer_as_victim() -> None:
    """Where /proc allows it."""
    try:
        number = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(number, FIRST_VICTIM)
    except OSError:
        return
    finally:
        os.close(number)


def obey(outside: Outside, runtime: Runtime, alone: bool) -> None:
    """Carry out what is asked while the runtime runs."""
    try:
        while True:
            if outside.hear() == [b"terminate"]:
                runtime.terminate()
    except Closed:
        if alone:
            end_descendants()
        os._exit(0)


def bury() -> None:
    """Wait for orphans, then for ever: `obey` ends this process."""
    try:
        while True:
            os.wait4(-1, 0)
    except ChildProcessError:
        for_ever = _thread.allocate_lock()
        for_ever.acquire()
        for_ever.acquire()


def limit(name: str, value: str) -> None:
    """One resource limit, soft and hard. What is limited already stays at what it may be."""
    number = getattr(resource, name)
    _, hard = resource.getrlimit(number)
    wanted = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
    resource.setrlimit(number, (wanted, wanted))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends."""
    import ctypes

    ctypes.CDLL(None).prctl(PARENT_OF_ORPHANS, 1, 0, 0, 0)


def end_descendants() -> None:
    """Kill children until there are none; theirs become ours and are next."""
    for _ in range(1000):
        children = []
        for thread in os.listdir("/proc/self/task"):
            with open("/proc/self/task/" + thread + "/children") as file:
                children += file.read().split()
        if not children:
            return
        for child in children:
            try:
                os.kill(int(child), _signal.SIGKILL)
                os.waitpid(int(child), 0)
            except OSError:
                continue


def _framed(fields: list[bytes] | tuple[bytes, ...]) -> bytes:
    payload = b"\0".join(fields)
    return len(payload).to_bytes(4, "big") + payload


if __name__ == "__main__":
    main(sys.argv[1:])
