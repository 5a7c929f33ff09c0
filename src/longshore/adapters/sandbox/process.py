# SPDX-License-Identifier: Apache-2.0
"""Cells without walls, for trusted code on machines where there can be none. Only when asked for.

The same launcher, the same life; places are real paths instead of mounts, and the environment says where:
OUTPUT_DIR, INPUT_DIR, LAMBDA_TASK_ROOT, ... As root a handler still gets a user of its own, and control
groups limit it where there are any.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from longshore.adapters.sandbox import kin, slots
from longshore.adapters.sandbox.cell import LiveCell
from longshore.adapters.sandbox.cgroups import Group
from longshore.adapters.sandbox.control import Ready
from longshore.adapters.sandbox.home import Home, remove_tree
from longshore.adapters.sandbox.launch import Doors, Plan, launch
from longshore.adapters.sandbox.limits import Bounds, made, quota
from longshore.adapters.sandbox.rooms import LANG, checked_name
from longshore.adapters.sandbox.slots import Slot
from longshore.adapters.sandbox.watch import Watch
from longshore.adapters.sandbox.wires import Wires
from longshore.domain.errors import Unavailable
from longshore.domain.network import NetworkMode
from longshore.ports.sandbox import Cell, CellSpec, Frame, Isolation


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are that a cell with walls would have mounted."""

    spec: CellSpec
    at: Path

    @property
    def output(self) -> Path:
        """Where the handler leaves files."""
        return self.at / "output"

    @property
    def package(self) -> Path:
        """The handler's code."""
        if self.spec.package_dir is None:
            raise Unavailable("a sandbox without walls starts with its package")
        return self.spec.package_dir

    @property
    def python(self) -> str:
        """The interpreter's real path."""
        root = self.spec.runtime_root
        return self.spec.python if root is None else str(self._real(self.spec.python))

    def make(self, slot: Slot | None) -> None:
        """Directories for one cell, its user's own."""
        self.at.mkdir(mode=0o711)
        self.lay(self.spec.inputs)
        for name in ("output", "tmp"):
            (self.at / name).mkdir(mode=0o700)
            if slot is not None:
                os.chown(self.at / name, slot.uid, slot.uid)

    def lay(self, inputs: Mapping[str, Path]) -> None:
        """Exactly these inputs."""
        if (self.at / "input").exists():
            remove_tree(self.at / "input")
        (self.at / "input").mkdir(mode=0o755)
        for name, source in inputs.items():
            link = self.at / "input" / checked_name(name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.resolve())

    def dress(self, environment: Mapping[str, str], ready: Ready) -> Mapping[str, str]:
        """The same variables with real places."""
        tmp = str(self.at / "tmp")
        real = {
            **ready.addresses(),
            "LAMBDA_TASK_ROOT": str(self.package),
            "LAMBDA_RUNTIME_DIR": str(self.spec.runtime_dir),
            "OUTPUT_DIR": str(self.output),
            "INPUT_DIR": str(self.at / "input"),
            "HOME": tmp,
            "TMPDIR": tmp,
        }
        paths = {
            name: ":".join(str(self._real(one)) for one in environment[name].split(":"))
            for name in ("PATH", "LD_LIBRARY_PATH")
            if name in environment
        }
        return {**environment, **paths, **real}

    def libraries(self) -> Mapping[str, str]:
        """Where the interpreter finds its own library, if it has one beside it."""
        root = self.spec.runtime_root
        return {} if root is None else {"LD_LIBRARY_PATH": str(root / "lib")}

    def _real(self, place: str) -> PurePosixPath:
        inside = PurePosixPath(place)
        mounted = {"/var/task": self.package, "/var/runtime": self.spec.runtime_dir}
        for mount, real in {**mounted, LANG: self.spec.runtime_root or Path(self.python).parents[1]}.items():
            if inside.is_relative_to(mount):
                return PurePosixPath(real) / inside.relative_to(mount)
        return inside


class Process:
    """Implements the port's Sandbox."""

    def __init__(self, home: Home, setpriv: str) -> None:
        self._home = home
        self._setpriv = setpriv
        self._bounds = Bounds(home.groups.controllers, walls=False)
        self._watch = Watch()
        self._live: set[LiveCell] = set()

    @property
    def isolation(self) -> Isolation:
        """`process`: handlers see the host."""
        words = "handlers see this machine's files, processes and network: run trusted code only"
        return Isolation(level="process", words=(words, *self._bounds.missing()))

    async def launch(self, spec: CellSpec, early: Mapping[str, str] | None = None) -> Cell:
        """Some 30 ms. A runtime starts from the beginning when it is assigned: what comes before the launcher
        runs as root, and has no use for a handler's search paths."""
        spec = slots.within_reach(spec)
        name = self._home.next_name()
        self._sweep()
        with contextlib.ExitStack() as undo:
            slot = slots.take()
            if slot is not None:
                undo.callback(slot.give_back)
            group = made(self._home.groups, name, quota(spec))
            undo.callback(group.remove)
            places = Places(spec, self._home.cells / name)
            undo.callback(remove_tree, places.at)
            places.make(slot)
            plan = self._plan(places, slot, group)
            undo.pop_all()
        cell = await launch(plan, self._watch)
        fcntl.flock(cell.output(), fcntl.LOCK_SH)
        self._live = {one for one in self._live if not one.is_over} | {cell}
        return cell

    async def prepare(self, frame: Frame, environment: Mapping[str, str]) -> Cell | None:
        """Places are real here, and a package's is not known yet."""
        return None

    async def close(self) -> None:
        """Cells first, then what they stood on."""
        await asyncio.gather(*(cell.kill() for cell in self._live))
        self._live.clear()
        await self._watch.close()
        await asyncio.to_thread(self._home.close)

    def _plan(self, places: Places, slot: Slot | None, group: Group) -> Plan:
        before = slots.drop(slot, self._setpriv)
        script = str(self._home.bootstrap / "launcher.py")
        limits = self._bounds.words(places.spec.frame)

        def command(doors: Doors) -> Sequence[str]:
            words = [places.python, "-I", "-S", script, f"control={doors.control}", "port=0", "platform=0"]
            words += [f"output={places.output}", "adopt=1", "ahead=0", *limits]
            return [*before, *words]

        async def connect(_: int | None) -> Wires:
            return Wires(notices=_not_closed(places.spec.network.mode))

        def let_go() -> None:
            remove_tree(places.at / "tmp")
            self._sweep()
            if slot is not None:
                slot.give_back()

        return Plan(
            command=command,
            walls=False,
            ahead=False,
            filter=self._home.filter,
            group=group,
            spec=places.spec,
            dress=places.dress,
            user=None if slot is None else slot.uid,
            explain=_as_said,
            furnish=None,
            lay=places.lay,
            stragglers=lambda: kin.with_variable(f"OUTPUT_DIR={places.output}"),
            let_go=let_go,
            connect=connect,
            cwd=str(places.package),
            environment=places.libraries(),
        )

    def _sweep(self) -> None:
        """Remove the directories of cells that are over, once nobody reads their output any more."""
        for place in self._home.cells.iterdir():
            if not (place / "tmp").exists() and not _is_held(place / "output"):
                remove_tree(place)


def _is_held(directory: Path) -> bool:
    """Whether anybody has the descriptor that the cell had: its lock goes with the last copy of it."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)
    return False


def _not_closed(mode: NetworkMode) -> tuple[str, ...]:
    if mode is not NetworkMode.NONE:
        return ()
    return (
        "this run reaches all that its machine reaches, although its network is none: there are no walls"
        " with --sandbox process",
    )


def _as_said(said: str) -> str:
    return said
