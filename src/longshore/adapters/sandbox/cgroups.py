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
        """Files that a process writes 0 to, to come in."""
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


def table(path: Path) -> dict[str, int]:
    """A control file of lines `name number`; empty when it is gone."""
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def numbers(path: Path) -> list[int]:
    """A control file of numbers, one a line; empty when it is gone."""
    try:
        return [int(line) for line in path.read_text(encoding="ascii").split()]
    except OSError:
        return []


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
