# SPDX-License-Identifier: Apache-2.0
"""A process and all below it, as /proc tells: for machines where no cgroup counts for us."""

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """`anonymous` is the sum over processes, `peak` the most that one of them has ever held; bytes."""

    anonymous: int = 0
    peak: int = 0


def descendants(pid: int) -> list[int]:
    """The process and everything below it. In a pid namespace orphans stay below its first process."""
    found = {pid: None}
    waiting = [pid]
    while waiting:
        children = [child for child in _children(waiting.pop()) if child not in found]
        found.update(dict.fromkeys(children))
        waiting += children
    return list(found)


def memory(pids: Iterable[int]) -> Memory:
    """What these processes hold. Pages shared after a fork count once for each; see `fair_anonymous`."""
    anonymous = peak = 0
    for pid in pids:
        status = content(f"/proc/{pid}/status")
        anonymous += _kilobytes(status, b"\nRssAnon:")
        peak = max(peak, _kilobytes(status, b"\nVmHWM:"))
    return Memory(anonymous, peak)


def peaks(pids: Iterable[int]) -> dict[int, int]:
    """The most that each of them has ever held."""
    return {pid: _kilobytes(content(f"/proc/{pid}/status"), b"\nVmHWM:") for pid in pids}


def fair_anonymous(pids: Iterable[int]) -> int:
    """The same sum with shared pages counted once; slower, for when the plain sum is above a limit."""
    total = 0
    for pid in pids:
        exact = content(f"/proc/{pid}/smaps_rollup")
        total += (
            _kilobytes(exact, b"\nPss_Anon:")
            or _kilobytes(exact, b"\nPss:")
            or _kilobytes(content(f"/proc/{pid}/status"), b"\nRssAnon:")
        )
    return total


def cpu_ms(pids: Iterable[int]) -> float:
    """The processor time of these processes and of the children that they have waited for."""
    ticks = 0
    for pid in pids:
        text = _text(f"/proc/{pid}/stat")
        ticks += sum(int(word) for word in text.rpartition(")")[2].split()[11:15])
    return ticks * 1000 / _TICKS


def forget_peaks(pids: Iterable[int]) -> None:
    """Have the most that each has ever held counted from here on."""
    for pid in pids:
        with contextlib.suppress(OSError):
            number = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(number, b"5")
            finally:
                os.close(number)


def stop(root: int, patience: int = 50) -> bool:
    """SIGSTOP to all below a process, until there is nobody new; False when they are born too fast."""
    stopped: set[int] = set()
    for _ in range(patience):
        found = set(descendants(root)[1:]) - stopped
        if not found:
            return True
        signal_all(found, signal.SIGSTOP)
        stopped |= found
    return False


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """A signal to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def naming(word: str) -> list[int]:
    """Processes of any parent with a word in their command line."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if word in _text(f"/proc/{pid}/cmdline")]


def with_variable(variable: str) -> list[int]:
    """Processes of any parent that were started with `NAME=value` in their environment, if we may look."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if f"\0{variable}\0" in f"\0{_text(f'/proc/{pid}/environ')}"]


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += [int(word) for word in _text(f"/proc/{pid}/task/{thread}/children").split()]
    return found


def _kilobytes(status: bytes, name: bytes) -> int:
    """The bytes that a line `name  number kB` speaks of; 0 without it."""
    at = status.find(name)
    return int(status[at + len(name) :].split(None, 1)[0]) * 1024 if at >= 0 else 0


def _text(path: str) -> str:
    return content(path).decode("utf-8", "replace")


class Kept:
    """Files that the kernel makes up, kept open: asking again costs a quarter of opening them each time."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def content(self, path: str) -> bytes:
        """As `content`, for a file that stays what it is."""
        number = self._open.get(path)
        try:
            if number is None:
                number = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = os.pread(number, 65536, 0)
        except OSError:
            return b""
        return found if len(found) < 4000 else content(path)

    def close(self) -> None:
        """Let go of them; the next question opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])


def content(path: str) -> bytes:
    """A file that the kernel makes up; empty when what it speaks of is gone or hides. Runs read a dozen of
    them, so this is no more than it takes."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.read(number, 65536)
        if len(found) < 4000:
            return found
        while part := os.read(number, 65536):
            found += part
        return found
    except OSError:
        return b""
    finally:
        os.close(number)
