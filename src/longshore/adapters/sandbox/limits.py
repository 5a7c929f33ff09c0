# SPDX-License-Identifier: Apache-2.0
"""From a cell's specification to what the kernel is told, and in words what it cannot be told here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from longshore.adapters.sandbox import slots
from longshore.adapters.sandbox.cgroups import Group, Groups, Quota
from longshore.adapters.sandbox.rooms import SHM_MB
from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import CellSpec, Frame

OWN_PIDS = 4  # bwrap, its first process, the launcher, and one on its way in
OWN_MB = 8
OPEN_FILES = 1024
NICE = 15  # where no control group shares out processor time, five hundred busy processes must not starve us
LOCKED_BYTES = 64 * 1024
_MB = 2**20


def quota(spec: CellSpec) -> Quota:
    """The kernel's limits. Files in memory count as memory there, so a full /tmp must fit beside the task's
    own limit, which the memory watch keeps."""
    memory = spec.memory_mb + 2 * spec.disk_mb + SHM_MB + OWN_MB
    return Quota(cpus=spec.cpus, memory=memory * _MB, pids=spec.pids + OWN_PIDS)


def made(groups: Groups, name: str, wanted: Quota) -> Group:
    """A control group."""
    try:
        return groups.make(name, wanted)
    except OSError as error:
        raise Unavailable(f"no control group for the sandbox: {error}") from error


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is enforced without control groups, and whether by walls around the cell.

    RLIMIT_NPROC counts a user's processes; since Linux 5.14 only those in the same user namespace. So it is
    of use where cells have users or namespaces of their own, and would hit the server's user elsewhere.
    """

    controllers: frozenset[str]
    walls: bool

    def words(self, spec: Frame) -> list[str]:
        """Resource limits, in the launcher's words."""
        found = {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_FSIZE": (max(spec.disk_mb, SHM_MB) + 1) * _MB,  # a full disk comes first
            "RLIMIT_MEMLOCK": LOCKED_BYTES,
        }
        if "pids" not in self.controllers and self._counts_processes():
            found["RLIMIT_NPROC"] = spec.pids + OWN_PIDS
        polite = [] if "cpu" in self.controllers else [f"nice={NICE}"]
        return [*polite, *(f"limit={name}:{value}" for name, value in found.items())]

    def missing(self) -> Sequence[str]:
        """What is not the kernel's to enforce here."""
        words = []
        if "memory" not in self.controllers:
            words.append("memory is watched every 50 ms, not limited by the kernel (no memory control group)")
        if "cpu" not in self.controllers:
            words.append("the number of CPU cores of a run is not enforced (no cpu control group)")
        if "pids" not in self.controllers:
            words.append(
                "the number of processes is limited by RLIMIT_NPROC (no pids control group)"
                if self._counts_processes()
                else "the number of processes of a run is not limited (no pids control group)"
            )
        if not self.walls:
            words.append("files of a run are limited one by one, not in sum (no file system of its own)")
        return words

    def _counts_processes(self) -> bool:
        release = os.uname().release.split("-")[0].split(".")
        return slots.needs_slot() or (self.walls and (int(release[0]), int(release[1])) >= (5, 14))
