# SPDX-License-Identifier: Apache-2.0
"""The machine: what it is, who runs on which of its cores, how much memory processes hold.

What is measured has all cores but the last, whoever measures has the last: a client that shares a core with
its server would be measured too, and placement alone moves latencies 3 to 4 times.
"""

import contextlib
import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ALL_CORES = frozenset(os.sched_getaffinity(0))
CLIENT_CORES = frozenset({max(ALL_CORES)})
SERVER_CORES = ALL_CORES - CLIENT_CORES or ALL_CORES


def describe() -> dict[str, str]:
    """What figures depend on."""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kernel = platform.release().partition("-")[0]
    return {
        "machine": f"{len(ALL_CORES)} cores of {_after('/proc/cpuinfo', 'model name')}, {gib:.0f} GiB",
        "system": f"{_pretty_name()}, Linux {kernel}, Python {platform.python_version()}",
        "cores": f"measured on {sorted(SERVER_CORES)}, measuring on {sorted(CLIENT_CORES)}; rows that say"
        f" 'free' on {sorted(ALL_CORES)}, both",
        "load before": load(),
    }


def load() -> str:
    """How much was running, ours included."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg()) + " over 1, 5, 15 minutes"


def _after(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "an unnamed CPU")


def _pretty_name() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "an unnamed Linux").partition(" (")[0]


@contextlib.contextmanager
def on(cores: Iterable[int]) -> Iterator[None]:
    """What is started in the block runs on these cores; this thread goes back to its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def place(pid: int, cores: Iterable[int]) -> None:
    """Move a process, its threads and all that it has started."""
    wanted = frozenset(cores)
    for one in tree(pid):
        with contextlib.suppress(OSError):  # it has ended, or is not ours to move
            for thread in os.listdir(f"/proc/{one}/task"):
                os.sched_setaffinity(int(thread), wanted)


def tree(pid: int) -> Sequence[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_text()
                children[int(stat.rpartition(")")[2].split()[1])].append(int(name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def children_named(pid: int, name: str) -> Sequence[int]:
    """The descendants of a process with that name, outermost only."""
    named = [one for one in tree(pid) if _name(one) == name]
    inner = {below for one in named for below in tree(one)[1:]}
    return [one for one in named if one not in inner]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def rss_mb(pid: int) -> float:
    """Resident memory of one process."""
    return int(_after(f"/proc/{pid}/status", "VmRSS").split()[0]) / 1024


def pss_mb(pid: int) -> float:
    """Memory of a process and its descendants, what they share counted once."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            total += int(_after(f"/proc/{one}/smaps_rollup", "Pss:").split()[0])
    return total / 1024
