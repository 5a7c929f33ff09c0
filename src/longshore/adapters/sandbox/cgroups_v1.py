# SPDX-License-Identifier: Apache-2.0
"""Control groups, version 1: a tree for each controller, some of which may share one."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cgroups import (
    PERIOD_US,
    Group,
    Quota,
    entry,
    kill_all,
    kill_each,
    numbers,
    sweep_all,
    write,
)

WANTED = ("memory", "pids", "cpu", "cpuacct", "freezer")


@dataclass(frozen=True, slots=True)
class GroupV1:
    """One cell's group in each tree."""

    at: Mapping[str, Path]
    files: kin.Kept = field(default_factory=kin.Kept)

    def joining(self) -> Sequence[Path]:
        """One file a tree."""
        return [directory / "cgroup.procs" for directory in sorted(set(self.at.values()))]

    def limit(self, quota: Quota) -> None:
        """In every tree."""
        _limit(self.at, quota)

    def freeze(self) -> bool:
        """By the freezer's tree."""
        if "freezer" not in self.at:
            return False
        write(self.at["freezer"] / "freezer.state", "FROZEN")
        return True

    def is_frozen(self) -> bool:
        """`FREEZING` on the way there; the kernel looks again whenever it is asked."""
        return (self.at["freezer"] / "freezer.state").read_text(encoding="ascii").strip() == "FROZEN"

    def thaw(self) -> None:
        """By the freezer's tree."""
        if "freezer" in self.at:
            with contextlib.suppress(OSError):
                write(self.at["freezer"] / "freezer.state", "THAWED")

    def anonymous(self) -> int | None:
        """`rss` here is anonymous memory alone, whatever its name says."""
        if "memory" not in self.at:
            return None
        return entry(self.files.content(f"{self.at['memory']}/memory.stat"), "rss") or 0

    def cpu_ms(self) -> float | None:
        """In steps of nanoseconds."""
        if "cpuacct" not in self.at:
            return None
        return int(self.files.content(f"{self.at['cpuacct']}/cpuacct.usage") or 0) / 1e6

    def oom_kills(self) -> int:
        """Counted since Linux 4.13."""
        if "memory" not in self.at:
            return 0
        return entry(self.files.content(f"{self.at['memory']}/memory.oom_control"), "oom_kill") or 0

    def processes(self) -> list[int] | None:
        """Everybody is in every tree. The kernel remembers this list for as long as its file is open."""
        return numbers(f"{next(iter(self.at.values()))}/cgroup.procs")

    def hurry(self) -> None:
        """No quota any more."""
        if "cpu" in self.at:
            with contextlib.suppress(OSError):
                write(self.at["cpu"] / "cpu.cfs_quota_us", "-1")

    def kill(self) -> None:
        """Frozen processes cannot fork; they die when they thaw."""
        freezer = self.at.get("freezer")
        if freezer is None:
            kill_each(lambda: self.processes() or [])
            return
        with contextlib.suppress(OSError):
            _freeze(freezer)
        kill_all(numbers(freezer / "cgroup.procs"))
        self.thaw()

    def remove(self) -> bool:
        """Trees are independent: what is empty goes."""
        self.files.close()
        for directory in set(self.at.values()):
            with contextlib.suppress(OSError):
                directory.rmdir()
        return not any(directory.exists() for directory in self.at.values())


def _freeze(freezer: Path) -> None:
    write(freezer / "freezer.state", "FROZEN")
    until = time.monotonic() + 0.05
    while "FREEZING" in (freezer / "freezer.state").read_text() and time.monotonic() < until:
        time.sleep(0.001)


@dataclass(frozen=True, slots=True)
class GroupsV1:
    """A server's directory in each tree."""

    at: Mapping[str, Path]

    @property
    def controllers(self) -> frozenset[str]:
        """The trees that we could make a directory in."""
        return frozenset(self.at) & {"memory", "pids", "cpu"}

    @property
    def places(self) -> Sequence[Path]:
        """One a tree."""
        return sorted(set(self.at.values()))

    def make(self, name: str, quota: Quota) -> Group:
        """Directories first, then limits; nothing is left when one fails."""
        group = GroupV1({controller: directory / name for controller, directory in self.at.items()})
        try:
            for directory in sorted(set(group.at.values())):
                directory.mkdir(parents=True)
            _limit(group.at, quota)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Kill and remove."""
        sweep_all(self.places)


def _limit(at: Mapping[str, Path], quota: Quota) -> None:
    if "memory" in at:
        with contextlib.suppress(OSError):  # only where swap is accounted; never below the other, so up first
            write(at["memory"] / "memory.memsw.limit_in_bytes", str(quota.memory))
        write(at["memory"] / "memory.limit_in_bytes", str(quota.memory))
        with contextlib.suppress(OSError):  # and down last
            write(at["memory"] / "memory.memsw.limit_in_bytes", str(quota.memory))
    if "pids" in at:
        write(at["pids"] / "pids.max", str(quota.pids))
    if "cpu" in at:
        write(at["cpu"] / "cpu.cfs_period_us", str(PERIOD_US))
        write(at["cpu"] / "cpu.cfs_quota_us", str(max(1000, int(quota.cpus * PERIOD_US))))


def open_v1(own: Mapping[str, Path], name: str) -> GroupsV1 | None:
    """Make a server's directory wherever we may; None where we may nowhere."""
    at: dict[str, Path] = {}
    for controller in WANTED:
        if controller not in own:
            continue
        directory = own[controller] / name
        with contextlib.suppress(OSError):
            directory.mkdir(exist_ok=True)
            at[controller] = directory
    if not {"memory", "pids", "cpu"} & set(at):
        GroupV1(at).remove()
        return None
    return GroupsV1(at)
