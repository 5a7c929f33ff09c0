# SPDX-License-Identifier: Apache-2.0
"""A cell's /var as a directory of the host: what is laid there shows in the cell at once, and read-only.

    <cell>/var/lang, runtime   where interpreter and client are mounted
              /input           inputs, changed between runs
              /task            the package: mounted, or moved here when the cell was there before its task

Packages and inputs are hard links: the cache stays whole whatever becomes of a cell, and bytes that two cells
read are in memory once.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from longshore.adapters.sandbox.home import remove_tree
from longshore.adapters.sandbox.rooms import checked_name

SPARE_COPIES = 4
"""Of one package; a copy that a cell has given back serves the next one by a single rename."""
SPARE_VARS = 8
PACKAGES = 64
SMALL = 32


@dataclass(frozen=True, slots=True)
class Var:
    """One cell's."""

    cell: Path
    mounted: bool
    """Whether the package is mounted at /var/task, which is there from the start then, or moved to it."""

    @property
    def at(self) -> Path:
        """What is mounted at /var."""
        return self.cell / "var"

    @property
    def task(self) -> Path:
        """What is at /var/task."""
        return self.at / "task"

    @property
    def names(self) -> Path:
        """Files of /etc that are this cell's own."""
        return self.cell / "names"

    def make(self) -> None:
        """The empty places."""
        self.cell.mkdir(mode=0o711)
        names = ("lang", "runtime", "input", *(["task"] if self.mounted else []))
        for place in (self.at, *(self.at / name for name in names)):
            place.mkdir()
            place.chmod(0o755)

    def empty(self) -> None:
        """As it was made, when its cell is over. No cell can write here. Raises OSError."""
        self.lay({})
        if self.names.exists():
            remove_tree(self.names)
        if not self.mounted and self.task.exists():
            remove_tree(self.task)

    def lay(self, inputs: Mapping[str, Path]) -> None:
        """Exactly these inputs. Raises Invalid for a name that leads out, OSError."""
        names = {checked_name(name): source for name, source in inputs.items()}
        for old in list(os.scandir(self.at / "input")):
            remove_tree(Path(old.path)) if old.is_dir(follow_symlinks=False) else os.unlink(old.path)
        for name, source in names.items():
            target = self.at / "input" / name
            for place in reversed(target.relative_to(self.at / "input").parents[:-1]):
                directory = self.at / "input" / place
                if not directory.exists():
                    directory.mkdir()
                    directory.chmod(0o755)
            _link(source, target)

    def remove(self) -> None:
        """All of it."""
        remove_tree(self.cell)


@dataclass(frozen=True, slots=True)
class Vars:
    """Those of a server's cells. One that a cell has left serves another: while the kernel still has mounts
    of a cell that is over, removing a directory that is one of them takes it milliseconds."""

    at: Path
    _spare: Mapping[bool, list[Var]] = field(default_factory=lambda: {True: [], False: []})

    def take(self, name: str, *, mounted: bool) -> Var:
        """One with empty places. Raises OSError."""
        if self._spare[mounted]:
            return self._spare[mounted].pop()
        var = Var(self.at / name, mounted)
        try:
            var.make()
        except BaseException:
            var.remove()
            raise
        return var

    def give_back(self, var: Var) -> None:
        """Its cell is over."""
        spare = self._spare[var.mounted]
        try:
            if len(spare) < SPARE_VARS:
                var.empty()
                spare.append(var)
                return
        except OSError:
            pass  # what resists goes with all of it
        var.remove()


@dataclass(frozen=True, slots=True)
class Copies:
    """Spare trees of packages below a directory, by the package they are of."""

    at: Path
    _spare: dict[Path, list[Path]] = field(default_factory=dict)
    _sizes: dict[Path, int] = field(default_factory=dict)
    _number: list[int] = field(default_factory=lambda: [0])

    def spare(self, package: Path) -> Path | None:
        """One that is ready."""
        kept = self._spare.get(package)
        return kept.pop() if kept else None

    def is_small(self, package: Path) -> bool:
        """Whether another one takes less time than the way to a thread and back; known from the second on."""
        return self._sizes.get(package, SMALL + 1) <= SMALL

    def fresh(self, package: Path) -> Path:
        """Another one; its cost is that of one link a file."""
        self._number[0] += 1
        target = self.at / f"copy-{self._number[0]}"
        try:
            self._sizes[package] = _copy(package, target)
        except BaseException:
            remove_tree(target)
            raise
        return target

    def give_back(self, package: Path, tree: Path) -> None:
        """Keep what a cell had, if there are not enough already."""
        kept = self._spare.setdefault(package, [])
        if len(kept) < SPARE_COPIES and len(self._spare) <= PACKAGES:
            self._number[0] += 1
            target = self.at / f"copy-{self._number[0]}"
            with contextlib.suppress(OSError):
                tree.rename(target)
                kept.append(target)


def _copy(source: Path, target: Path) -> int:
    """A tree of hard links with the same modes; how many there are."""
    links = 0
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            to = target / entry.name
            if entry.is_symlink():
                to.symlink_to(os.readlink(entry.path))
            elif entry.is_dir():
                links += _copy(Path(entry.path), to)
            else:
                _link(Path(entry.path), to)
                links += 1
    target.chmod(source.stat().st_mode & 0o755 | 0o055)
    return links


def _link(source: Path, target: Path) -> None:
    """A second name for a file; a copy of it where there can be none (another disk, too many names)."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)
