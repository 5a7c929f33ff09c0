# SPDX-License-Identifier: Apache-2.0
"""Where our own control groups are, from /proc/self/mountinfo and /proc/self/cgroup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from longshore.adapters.sandbox.cgroups import Bare, Groups
from longshore.adapters.sandbox.cgroups_v1 import open_v1
from longshore.adapters.sandbox.cgroups_v2 import open_v2

NEEDED = ("memory", "pids", "cpu")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted tree. `root` is the group that shows at `point`; version 2 names no controllers."""

    root: str
    point: Path
    version: int
    controllers: frozenset[str]


def open_groups(name: str) -> Groups:
    """A place for a server's groups: version 2 where it has controllers, version 1, or none."""
    mounts = _mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    paths = _paths(Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace"))
    for mount in mounts:
        if mount.version == 2 and "" in paths:
            groups = open_v2(_own(mount, paths[""]), name)
            if groups is not None:
                return groups
    own = {
        controller: _own(mount, paths[controller])
        for mount in mounts
        if mount.version == 1
        for controller in mount.controllers
        if controller in paths
    }
    return open_v1(own, name) or Bare()


def _own(mount: Mount, path: str) -> Path:
    """Our own group as a directory. Inside a container the mount may begin at it or below."""
    group = PurePosixPath(path)
    if group.is_relative_to(mount.root):
        directory = mount.point / group.relative_to(mount.root)
        if directory.is_dir():
            return directory
    return mount.point


def _mounts(mountinfo: str) -> Sequence[Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if kind and kind[0] in ("cgroup", "cgroup2"):
            names = frozenset(kind[-1].split(",")) if kind[0] == "cgroup" else frozenset[str]()
            point = Path(words[4].encode().decode("unicode_escape"))
            found.append(Mount(words[3], point, 2 if kind[0] == "cgroup2" else 1, names))
    return found


def _paths(cgroup: str) -> Mapping[str, str]:
    """Our path in each controller's tree; version 2's is under the empty name."""
    found = {}
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found
