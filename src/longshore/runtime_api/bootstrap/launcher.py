# SPDX-License-Identifier: Apache-2.0
"""The first program inside a cell. It is copied there and knows nothing but the standard library.

    outside ◀── ready  + [listening: the Runtime API, the platform; the directory of /output]
    outside ◀── prepared                            a runtime waits that has imported its client: nobody's yet
    outside ──▶ start, handler, NAME=value ...      that turns into whose turn it is; where none waits: fork,
                                                    exec of the runtime with exactly this environment
    outside ──▶ terminate                           SIGTERM to the runtime
    outside ◀── exit, wait status, peak kB, CPU µs
    outside ──▶ end                                 SIGKILL to everybody in here but this program
    outside ◀── ended                               nobody else is left: start, or prepare for another one
                                                    that waits, may follow

A frame is its length (4 bytes, big-endian) and fields with NULs between them: an environment has no NUL
either, and json, socket, signal would double the time until `ready`. When the outside closes its end, all is
over.

usage: launcher.py control=FD port=N platform=N output=DIR adopt=0|1 ahead=0|1 [nice=N] [limit=RESOURCE:N ...]

`adopt=1` is for life without a pid namespace: the runtime's orphans stay below this process and end with it.
`ahead=1`: this interpreter was started as a runtime's is, so it imports the client itself and its children
are runtimes without an exec, which saves half the time. No handler's code ever runs in this process.
One thread, so that it may fork at any time; a child that ends interrupts whatever it waits for.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself imports enum: 5 ms
import _socket
import gc
import marshal
import os
import resource
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    Program = tuple[CodeType, Callable[[], None]]

PARENT_OF_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
FIRST_VICTIM = b"900"
CANNOT_START = 127
LOOK_AGAIN_S = 0.0005


class Closed(Exception):
    """The outside has closed its end."""


class Turn(Exception):
    """This process is a runtime now: its program, and whose turn it is."""

    def __init__(self, code: CodeType, handler: bytes, environment: list[bytes]) -> None:
        super().__init__()
        self.code, self.handler, self.environment = code, handler, environment


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
        return _heard(self._socket)

    def is_waiting(self) -> bool:
        """Whether they have said something already."""
        try:
            return bool(self._socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT))
        except OSError:
            return False

    def close(self) -> None:
        """Have nothing to do with them, in a process that is not this one any more."""
        self._socket.close()


def main(words: list[str]) -> Turn:
    """Open the door, hand it out, wait for work. Returns in children that are runtimes."""
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
    port = doors[0].getsockname()[1]
    for door in doors:
        door.close()
    os.close(output)
    try:
        ahead = given["ahead"] == "1"
        Launcher(outside, alone, ahead, imported(port) if ahead else None).obey()
    except Turn as turn:
        return turn
    except (Closed, OSError):
        pass
    if alone:
        end_descendants()
    os._exit(0)


def listening(port: int) -> _socket.socket:
    """A door on the loopback."""
    door = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    door.bind(("127.0.0.1", port))
    door.listen(128)
    return door


def imported(port: int) -> Program | None:
    """The runtime's program and what it may do while it waits, with all imported that takes it long; None
    where that is not to be had, so that the next one that is started says why. The client notes where the
    Runtime API is when it is imported."""
    os.environ["AWS_LAMBDA_RUNTIME_API"] = f"127.0.0.1:{port}"
    gc.disable()  # what is imported stays; looking for garbage in it takes a tenth of the time
    try:
        code = compiled()
        names: dict[str, Any] = {"__name__": "python", "__file__": place()}
        exec(code, names)  # noqa: S102  (ours, from beside us)
        names["load"]()
    except Exception:  # noqa: BLE001  (whatever it is, a handler's log is the place for it)
        return None
    finally:
        gc.freeze()  # children do not walk through, and so copy, what is there by now
        gc.enable()
    return code, names["rehearse"]


def compiled() -> CodeType:
    """Compiled where we are."""
    with open(place(), "rb") as file:
        text = file.read()
    if place().endswith(".pyc"):
        code: CodeType = marshal.loads(text[16:])  # noqa: S302  (ours, from beside us)
        return code
    return compile(text, place(), "exec", dont_inherit=True)


def place() -> str:
    """Where the runtime's program is: beside us, and of our kind."""
    here, name = os.path.split(os.path.abspath(__file__))
    return os.path.join(here, name.replace("launcher", "python", 1))


class Launcher:
    """Starts the runtime when told to, reports its end, stays until the outside goes. `ahead`: children may
    become runtimes as they are, with this program."""

    def __init__(self, outside: Outside, alone: bool, ahead: bool, program: Program | None) -> None:
        self._outside = outside
        self._alone = alone
        self._ahead, self._program = ahead, program
        self._runtime = 0
        self._waiting: _socket.socket | None = None
        _signal.signal(_signal.SIGCHLD, self._bury)

    def obey(self) -> None:
        """Carry out what is asked, until the end. Raises Turn in a child."""
        if self._ahead:
            self._prepare()
        while True:
            verb, *rest = self._outside.hear()
            if verb == b"prepare":
                self._prepare()
            elif verb == b"start":
                self._start(rest[0], rest[1:])
            elif verb == b"terminate":
                self._terminate()
            elif verb == b"end":
                self._end()

    def _prepare(self) -> None:
        """Have a child that waits for its turn, if it can be had."""
        if self._program is not None:
            self._fork(self._program)
        self._outside.say(b"prepared")

    def _fork(self, program: Program) -> None:
        is_urgent = self._outside.is_waiting()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        with _Undisturbed():
            self._runtime = os.fork()
        if not self._runtime:
            ours.close()
            self._outside.close()
            raise waited(theirs, program, is_urgent)
        theirs.close()
        self._waiting = ours

    def _start(self, handler: bytes, environment: list[bytes]) -> None:
        if self._waiting is None:
            with _Undisturbed():
                self._runtime = start(handler, environment)
            return
        try:
            self._waiting.sendall(_framed([handler, *environment]))
        except OSError:
            return  # its end is reported like any other
        finally:
            self._waiting.close()
            self._waiting = None

    def _terminate(self) -> None:
        """The number of a process that was buried may be a stranger's."""
        with _Undisturbed():
            if self._runtime:
                os.kill(self._runtime, _signal.SIGTERM)

    def _end(self) -> None:
        if self._alone:
            end_descendants()
        else:
            end_others()
        self._waiting = None
        self._outside.say(b"ended")

    def _bury(self, _number: int, _frame: object) -> None:
        """Take leave of all children that have ended, strangers that became ours too."""
        while True:
            try:
                pid, status, took = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._runtime:
                self._runtime = 0
                self._tell(status, took)

    def _tell(self, status: int, took: resource.struct_rusage) -> None:
        cpu = int((took.ru_utime + took.ru_stime) * 1e6)
        try:
            self._outside.say(b"exit", b"%d" % status, b"%d" % took.ru_maxrss, b"%d" % cpu)
        except OSError:
            return  # nobody to tell; that shows when they are listened to


class _Undisturbed:
    """While it lasts no child is buried."""

    def __enter__(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGCHLD])


def waited(pair: _socket.socket, program: Program, is_urgent: bool) -> Turn:
    """A child's wait for its turn; it ends here when there is none."""
    code, rehearse = program
    try:
        as_runtime()
        if not is_urgent:
            rehearse()
        handler, *environment = _heard(pair)
        pair.close()
        return Turn(code, handler, environment)
    except BaseException:  # noqa: BLE001  (whatever it is, this process is not the launcher)
        os._exit(0)


def become(turn: Turn) -> None:
    """Be a runtime that was started with this environment in this place: its program is `__main__`."""
    os.environ.clear()
    for pair in turn.environment:
        name, _, value = pair.partition(b"=")
        os.environb[name] = value
    time.tzset()
    os.chdir(os.environ["LAMBDA_TASK_ROOT"])
    sys.argv[:] = [place(), os.fsdecode(turn.handler)]
    main = type(sys)("__main__")
    main.__file__ = place()
    sys.modules["__main__"] = main
    exec(turn.code, main.__dict__)  # noqa: S102  (ours)


def start(handler: bytes, environment: list[bytes]) -> int:
    """The process of a runtime that is started from the beginning."""
    variables = dict(pair.split(b"=", 1) for pair in environment)
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        as_runtime()
        words = [os.fsencode(sys.executable), os.fsencode(place()), handler]
        os.execve(words[0], words, variables)  # noqa: S606  (the point is that there is no shell)
    except OSError as error:
        os.write(2, b"the runtime could not be started: %s\n" % str(error).encode())
    finally:
        os._exit(CANNOT_START)


def as_runtime() -> None:
    """A child's own. It is what the kernel takes first when memory runs short. What an earlier runtime did to
    the pipes that it shares with us is undone."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGCHLD])
    for pipe in (1, 2):
        os.set_blocking(pipe, True)
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


def end_others() -> None:
    """Kill all in this pid namespace but its first process and ourselves. The kernel lets nobody be born
    while it goes round; orphans are the first process's to bury."""
    try:
        while True:
            os.kill(-1, _signal.SIGKILL)
            time.sleep(LOOK_AGAIN_S)
    except ProcessLookupError:
        return


def end_descendants() -> None:
    """Kill children until there are none; theirs become ours and are next."""
    for _ in range(1000):
        with _Undisturbed():
            children = _children()
            for child in children:
                os.kill(child, _signal.SIGKILL)
        if not children:
            return
        time.sleep(LOOK_AGAIN_S)


def _children() -> list[int]:
    found = []
    for thread in os.listdir("/proc/self/task"):
        with open("/proc/self/task/" + thread + "/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def _heard(end: _socket.socket) -> list[bytes]:
    """The next frame."""
    size = int.from_bytes(_exactly(end, 4), "big")
    return _exactly(end, size).split(b"\0")


def _exactly(end: _socket.socket, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = end.recv(min(size, 65536))
        except OSError:
            part = b""
        if not part:
            raise Closed
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _framed(fields: list[bytes] | tuple[bytes, ...]) -> bytes:
    payload = b"\0".join(fields)
    return len(payload).to_bytes(4, "big") + payload


if __name__ == "__main__":
    become(main(sys.argv[1:]))
