# SPDX-License-Identifier: Apache-2.0
"""A process and all below it, as /proc tells: for machines where no cgroup counts for us."""

import os
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
        fields = _fields(f"/proc/{pid}/status")
        anonymous += fields.get("RssAnon", 0)
        peak = max(peak, fields.get("VmHWM", 0))
    return Memory(anonymous, peak)


def fair_anonymous(pids: Iterable[int]) -> int:
    """The same sum with shared pages counted once; slower, for when the plain sum is above a limit."""
    total = 0
    for pid in pids:
        exact = _fields(f"/proc/{pid}/smaps_rollup")
        total += exact.get("Pss_Anon", exact.get("Pss", _fields(f"/proc/{pid}/status").get("RssAnon", 0)))
    return total


def cpu_ms(pids: Iterable[int]) -> float:
    """The processor time of these processes and of the children that they have waited for."""
    ticks = 0
    for pid in pids:
        text = _text(f"/proc/{pid}/stat")
        ticks += sum(int(word) for word in text.rpartition(")")[2].split()[11:15])
    return ticks * 1000 / _TICKS


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


def _fields(path: str) -> dict[str, int]:
    found = {}
    for line in _text(path).splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest[:-3]) * 1024
    return found


def _text(path: str) -> str:
    """A file of /proc; empty when its process is gone or hides."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
