# SPDX-License-Identifier: Apache-2.0
"""Control groups: what a cell may take, what it has taken, and the end of everything in it.

    <our own group>/longshore-<server>/<cell>       in one tree (version 2) or in one tree a controller (1)

Below our own group, so that limits which somebody has set for us hold for cells as well. Where we may not
make groups, `Bare` takes their place: it limits nothing and knows nothing.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from longshore.adapters.sandbox import kin

PERIOD_US = 100_000
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one cell may take. `memory` counts anonymous memory, files in tmpfs and the page cache."""

    cpus: float
    memory: int
    pids: int


class Group(Protocol):
    """The control group of one cell."""

    def joining(self) -> Sequence[Path]:
        """Files that the number of a process is written to, to have it in; 0 is the writer."""
        ...

    def limit(self, quota: Quota) -> None:
        """Set other limits than it was made with. Raises OSError."""
        ...

    def freeze(self) -> bool:
        """Hold everybody in it still, which takes a moment; False where groups cannot do that."""
        ...

    def is_frozen(self) -> bool:
        """Whether the moment is over."""
        ...

    def thaw(self) -> None:
        """Let them go on; harmless when they do."""
        ...

    def anonymous(self) -> int | None:
        """Bytes of anonymous memory in use; None where nobody counts."""
        ...

    def cpu_ms(self) -> float | None:
        """Processor time so far; None where nobody counts."""
        ...

    def oom_kills(self) -> int:
        """How often the kernel has killed here for want of memory."""
        ...

    def processes(self) -> list[int] | None:
        """Who is in; None where nobody counts."""
        ...

    def hurry(self) -> None:
        """Lift the limit on processor time: dying takes some, and with many processes a lot."""
        ...

    def kill(self) -> None:
        """SIGKILL to all at once, so that nobody is born meanwhile."""
        ...

    def remove(self) -> bool:
        """Remove the empty group; False while somebody is still in."""
        ...


class Groups(Protocol):
    """The place in the tree where one server keeps the groups of its cells."""

    @property
    def controllers(self) -> frozenset[str]:
        """Of memory, pids and cpu those that work here."""
        ...

    @property
    def places(self) -> Sequence[Path]:
        """Directories to remove, should we not live to do it; see `sweep`."""
        ...

    def make(self, name: str, quota: Quota) -> Group:
        """A group with its limits set. Raises OSError."""
        ...

    def close(self) -> None:
        """Kill what is left and remove everything."""
        ...


@dataclass(frozen=True, slots=True)
class Bare:
    """No control groups: both the place and every group in it."""

    controllers: frozenset[str] = frozenset()
    places: Sequence[Path] = ()

    def make(self, name: str, quota: Quota) -> Group:
        """Nothing is limited."""
        return self

    def joining(self) -> Sequence[Path]:
        """Nothing to join."""
        return ()

    def limit(self, quota: Quota) -> None:
        """Nothing is limited."""

    def freeze(self) -> bool:
        """Others must do it."""
        return False

    def is_frozen(self) -> bool:
        """Never."""
        return False

    def thaw(self) -> None:
        """Nobody is held."""

    def anonymous(self) -> int | None:
        """Unknown."""
        return None

    def cpu_ms(self) -> float | None:
        """Unknown."""
        return None

    def oom_kills(self) -> int:
        """None that we would know of."""
        return 0

    def processes(self) -> list[int] | None:
        """Unknown."""
        return None

    def hurry(self) -> None:
        """Nothing is limited."""

    def kill(self) -> None:
        """Others must do it."""

    def remove(self) -> bool:
        """Nothing to remove."""
        return True

    def close(self) -> None:
        """Nothing to remove."""


def write(path: Path, text: str) -> None:
    """One write to a control file: the kernel takes each write as a command of its own."""
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(number, text.encode())
    finally:
        os.close(number)


def entry(content: bytes, name: str) -> int | None:
    """The number of one line in a control file of lines `name number`; None when it is not there."""
    text = b"\n" + content
    at = text.find(b"\n%s " % name.encode())
    words = text[at + 1 :].split(None, 2) if at >= 0 else []
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def numbers(path: Path | str) -> list[int]:
    """A control file of numbers, one a line; empty when it is gone."""
    return [int(word) for word in kin.content(str(path)).split()]


def bring_in(group: Group, pid: int) -> None:
    """Move a process and all below it into its group. Raises OSError.

    The first move waits for the kernel, 5 to 20 ms, so this is for a thread, while they go on: whoever is
    born to one that is in is in as well, and who is not yet is found in the next round.
    """
    files = group.joining()
    inside: set[int] = set()
    while files and (found := set(kin.descendants(pid)) - inside):
        for one in sorted(found):
            with contextlib.suppress(ProcessLookupError):
                for file in files:
                    write(file, str(one))
        inside |= found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_each(list_processes: Callable[[], Sequence[int]]) -> None:
    """SIGKILL until nobody is listed any more, for at most a moment."""
    until = time.monotonic() + 0.2
    while (found := list_processes()) and time.monotonic() < until:
        kill_all(found)


def sweep_all(places: Iterable[Path]) -> None:
    """Sweep several. All of them thaw first: who is frozen in one tree of version 1 does not die for another,
    and each would be waited for in vain."""
    found = list(places)
    for place in found:
        for one in [*place.glob("*/"), place]:
            _thaw(one)
    for place in found:
        sweep(place)


def sweep(place: Path) -> None:
    """Kill everybody in a group and below, and remove it. For groups that a dead server has left."""
    until = time.monotonic() + PATIENCE_S
    while place.is_dir() and time.monotonic() < until:
        for one in [*(path for path in place.iterdir() if path.is_dir()), place]:
            _thaw(one)
            kill_all(numbers(one / "cgroup.procs"))
            with contextlib.suppress(OSError):
                one.rmdir()
        if place.is_dir():
            time.sleep(0.005)


def _thaw(place: Path) -> None:
    for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (place / name).exists():
            with contextlib.suppress(OSError):
                write(place / name, text)
