# SPDX-License-Identifier: Apache-2.0
"""Control groups, version 2: one tree, in which a group has either processes or limits for its children."""

import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cgroups import (
    PERIOD_US,
    Group,
    Quota,
    entry,
    kill_each,
    numbers,
    sweep,
    write,
)

WANTED = ("memory", "pids", "cpu")
OURSELVES = "longshore-self"


@dataclass(frozen=True, slots=True)
class GroupV2:
    """One cell's group."""

    at: Path
    controllers: frozenset[str]
    files: kin.Kept = field(default_factory=kin.Kept)

    def joining(self) -> Sequence[Path]:
        """The one file."""
        return [self.at / "cgroup.procs"]

    def limit(self, quota: Quota) -> None:
        """In the files of its controllers."""
        _limit(self.at, self.controllers, quota)

    def freeze(self) -> bool:
        """Every group can, with controllers or without."""
        write(self.at / "cgroup.freeze", "1")
        return True

    def is_frozen(self) -> bool:
        """The kernel says so when the last one has come to rest."""
        return entry(self.files.content(f"{self.at}/cgroup.events"), "frozen") == 1

    def thaw(self) -> None:
        """Harmless when nobody is held."""
        with contextlib.suppress(OSError):
            write(self.at / "cgroup.freeze", "0")

    def anonymous(self) -> int | None:
        """Without tmpfs, which counts as shmem."""
        if "memory" not in self.controllers:
            return None
        return entry(self.files.content(f"{self.at}/memory.stat"), "anon") or 0

    def cpu_ms(self) -> float | None:
        """Counted in every group, also without the controller."""
        usage = entry(self.files.content(f"{self.at}/cpu.stat"), "usage_usec")
        return None if usage is None else usage / 1000

    def oom_kills(self) -> int:
        """Here and below."""
        return entry(self.files.content(f"{self.at}/memory.events"), "oom_kill") or 0

    def processes(self) -> list[int] | None:
        """Who is in."""
        return [int(word) for word in self.files.content(f"{self.at}/cgroup.procs").split()]

    def hurry(self) -> None:
        """No quota any more."""
        if "cpu" in self.controllers:
            with contextlib.suppress(OSError):
                write(self.at / "cpu.max", "max")

    def kill(self) -> None:
        """The kernel does it at once since 5.14; before, we freeze and kill."""
        try:
            write(self.at / "cgroup.kill", "1")
        except OSError:
            with contextlib.suppress(OSError):
                self.freeze()
            kill_each(lambda: self.processes() or [])
            self.thaw()

    def remove(self) -> bool:
        """Only an empty one goes."""
        self.files.close()
        with contextlib.suppress(OSError):
            self.at.rmdir()
        return not self.at.exists()


@dataclass(frozen=True, slots=True)
class GroupsV2:
    """A server's group, whose children are its cells."""

    at: Path
    controllers: frozenset[str]

    @property
    def places(self) -> Sequence[Path]:
        """The one directory."""
        return (self.at,)

    def make(self, name: str, quota: Quota) -> Group:
        """Directory first, then limits; nothing is left when one fails."""
        group = GroupV2(self.at / name, self.controllers)
        group.at.mkdir()
        try:
            self._limit(group.at, quota)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Kill and remove."""
        sweep(self.at)

    def _limit(self, at: Path, quota: Quota) -> None:
        _limit(at, self.controllers, quota)


def _limit(at: Path, controllers: frozenset[str], quota: Quota) -> None:
    if "memory" in controllers:
        write(at / "memory.max", str(quota.memory))
        write(at / "memory.oom.group", "1")
        with contextlib.suppress(OSError):  # only where the kernel swaps
            write(at / "memory.swap.max", "0")
    if "pids" in controllers:
        write(at / "pids.max", str(quota.pids))
    if "cpu" in controllers:
        write(at / "cpu.max", f"{max(1000, int(quota.cpus * PERIOD_US))} {PERIOD_US}")


def open_v2(own: Path, name: str) -> GroupsV2 | None:
    """Make a server's group below our own; None where we may not, or no controller is to be had."""
    if own.name == OURSELVES:
        own = own.parent
    try:
        controllers = _hand_down(own)
        at = own / name
        at.mkdir(exist_ok=True)
        controllers &= _hand_down(at)
    except OSError:
        controllers = frozenset()
    if not controllers:
        with contextlib.suppress(OSError):
            (own / name).rmdir()
        return None
    return GroupsV2(at, controllers)


def _hand_down(group: Path) -> frozenset[str]:
    """Give a group's children what it has. Its processes step aside into a group of their own for that."""
    offered = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    wanted = [controller for controller in WANTED if controller in offered]
    handed = (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
    missing = " ".join(f"+{controller}" for controller in wanted if controller not in handed)
    if missing:
        try:
            write(group / "cgroup.subtree_control", missing)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _step_aside(group)
            write(group / "cgroup.subtree_control", missing)
    return frozenset(wanted)


def _step_aside(group: Path) -> None:
    aside = group / OURSELVES
    aside.mkdir(exist_ok=True)
    for pid in numbers(group / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            write(aside / "cgroup.procs", str(pid))
