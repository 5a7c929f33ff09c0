# SPDX-License-Identifier: Apache-2.0
"""Cells made of namespaces, by bubblewrap.

setpriv (root, if we are)   away from root, to the cell's own user
  └ bwrap               user, pid, network, ipc, uts, cgroup and mount namespaces; seccomp; no capability
      └ launcher        in its control group by the time that it is told to start anything
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from longshore.adapters.sandbox import slots, wires
from longshore.adapters.sandbox.cell import LiveCell
from longshore.adapters.sandbox.cgroups import Bare, Group
from longshore.adapters.sandbox.control import Ready
from longshore.adapters.sandbox.egress import Lookout
from longshore.adapters.sandbox.home import Home
from longshore.adapters.sandbox.launch import Doors, Plan, launch
from longshore.adapters.sandbox.limits import Bounds, made, quota
from longshore.adapters.sandbox.names import written
from longshore.adapters.sandbox.programs import Programs
from longshore.adapters.sandbox.rooms import GID, LANG, UID, mounts, system
from longshore.adapters.sandbox.slots import Slot
from longshore.adapters.sandbox.trouble import explained
from longshore.adapters.sandbox.var import Copies, Var, Vars
from longshore.adapters.sandbox.watch import Watch
from longshore.adapters.sandbox.wires import Layer, Wires, Wiring
from longshore.domain.errors import Unavailable
from longshore.domain.network import NetworkMode
from longshore.ports.sandbox import PLATFORM_PORT, Cell, CellSpec, Frame, Isolation

CHECK_TIMEOUT_S = 30
PREPARING_CPUS, PREPARING_MB = 1.0, 128
WALLS = (
    *("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--uid", str(UID), "--gid", str(GID)),
    *("--hostname", "task", "--new-session", "--die-with-parent", "--cap-drop", "ALL"),
)
OWN_NETWORK = ("--unshare-net",)


class Bubblewrap:
    """Implements the port's Sandbox."""

    def __init__(self, home: Home, bwrap: str, setpriv: str) -> None:
        self._home = home
        self._bwrap = bwrap
        self._setpriv = setpriv
        self._bounds = Bounds(home.groups.controllers, walls=True)
        self._watch = Watch()
        self._copies = Copies(home.copies)
        self._vars = Vars(home.cells)
        self._programs = Programs(home.bootstrap)
        self._lookout = Lookout()
        self._live: set[LiveCell] = set()

    @property
    def isolation(self) -> Isolation:
        """`strict` with memory, pids and cpu under control of the kernel, `limits` otherwise."""
        words = tuple(self._bounds.missing())
        return Isolation(level="limits" if words else "strict", words=words)

    async def launch(self, spec: CellSpec, early: Mapping[str, str] | None = None) -> Cell:
        """Some 60 ms, half of them Python's own start."""
        return await self._launch(slots.within_reach(spec), early)

    async def prepare(self, frame: Frame, environment: Mapping[str, str]) -> Cell | None:
        """The same, and the time that the runtime takes to import its client."""
        spec = CellSpec(
            runtime_root=frame.runtime_root,
            python=frame.python,
            runtime_dir=frame.runtime_dir,
            package_dir=None,
            disk_mb=frame.disk_mb,
            pids=frame.pids,
            network=frame.network,
            cpus=PREPARING_CPUS,
            memory_mb=PREPARING_MB,
        )
        cell = await self._launch(slots.within_reach(spec), environment)
        try:
            await cell.prepared()
        except BaseException:
            await cell.kill()
            raise
        return cell

    async def _launch(self, spec: CellSpec, early: Mapping[str, str] | None) -> LiveCell:
        wiring = await wires.planned(spec.network, self._lookout.now())
        with contextlib.ExitStack() as undo:
            slot = slots.take()
            if slot is not None:
                undo.callback(slot.give_back)
            name = self._home.next_name()
            group = made(self._home.groups, name, quota(spec))
            undo.callback(group.remove)
            groups = self._home.groups if wiring.egress else Bare()
            carriers = made(groups, f"{name}-net", wires.quota(spec.cpus))
            undo.callback(carriers.remove)
            var = self._furnished(name, spec, undo)
            mark = self._home.at.name
            layer = Layer(wiring=wiring, slot=slot, setpriv=self._setpriv, group=carriers, mark=mark)
            plan = self._plan(spec, early, slot, group, var, layer)
            undo.pop_all()
        cell = await launch(plan, self._watch)
        self._live = {one for one in self._live if not one.is_over} | {cell}
        return cell

    def _furnished(self, name: str, spec: CellSpec, undo: contextlib.ExitStack) -> Var:
        """A cell's /var with what it has from its start."""
        try:
            var = self._vars.take(name, mounted=spec.package_dir is not None)
            undo.callback(self._vars.give_back, var)
            var.lay(spec.inputs)
        except OSError as error:
            raise Unavailable(f"no room for the sandbox's inputs: {error}") from error
        return var

    async def close(self) -> None:
        """Cells first, then what they stood on."""
        await asyncio.gather(*(cell.gone() for cell in self._live))
        self._live.clear()
        await self._watch.close()
        await self._programs.close()
        await asyncio.to_thread(self._home.close)

    async def _move_in(self, var: Var, spec: CellSpec) -> Path:
        """Have a package and inputs appear in a cell that is there already."""
        package = spec.package_dir
        if package is None:
            raise Unavailable("a cell is furnished with a package")
        copy = self._copies.spare(package)
        if copy is None and self._copies.is_small(package):
            copy = self._copies.fresh(package)
        if copy is None:
            copy = await asyncio.to_thread(self._copies.fresh, package)
        copy.rename(var.task)
        var.lay(spec.inputs)
        return package

    async def check(self) -> None:
        """Put up the walls once around a program that does nothing; Unavailable with the way to mend them."""
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        slot = slots.take()
        try:
            with self._home.filter.open("rb") as filter_file:
                number = filter_file.fileno()
                walls = [*WALLS, *OWN_NETWORK, *system(self._home.etc), "--remount-ro", "/"]
                inside = [*walls, "--seccomp", str(number), "--", _true()]
                command = [*slots.drop(slot, self._setpriv), self._bwrap, *inside]
                done = subprocess.run(
                    command,
                    env={},
                    cwd="/",
                    pass_fds=(number,),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=CHECK_TIMEOUT_S,
                    check=False,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"bubblewrap does not work here: {error}") from error
        finally:
            if slot is not None:
                slot.give_back()
        if done.returncode:
            raise Unavailable(explained(done.stderr.decode("utf-8", "replace").strip()))

    def _plan(
        self,
        spec: CellSpec,
        early: Mapping[str, str] | None,
        slot: Slot | None,
        group: Group,
        var: Var,
        layer: Layer,
    ) -> Plan:
        is_open = spec.network.mode is NetworkMode.HOST
        wiring = layer.wiring
        walls = [*WALLS, *(() if is_open else OWN_NETWORK), *self._room(spec, var, wiring)]
        before = slots.drop(slot, self._setpriv)
        moved_in: list[Path] = []

        def command(doors: Doors) -> Sequence[str]:
            numbers = ["--seccomp", str(doors.filter), "--info-fd", str(doors.info)]
            program = self._programs.launcher(spec)
            inside = ["--", *launcher(spec, program, doors.control, early), *self._bounds.words(spec.frame)]
            return [*before, self._bwrap, *walls, *variables(spec, early), *numbers, *inside]

        async def furnish(wanted: CellSpec) -> None:
            if wires.quota(wanted.cpus) != wires.quota(spec.cpus):
                layer.group.limit(wires.quota(wanted.cpus))
            moved_in.append(await self._move_in(var, wanted))

        async def connect(pid: int | None) -> Wires:
            laid = await layer.connect(pid)
            if laid.trouble and laid.is_lasting:
                self._lookout.failed(laid.trouble)
            return laid

        def let_go() -> None:
            for package in moved_in:
                self._copies.give_back(package, var.task)
            self._vars.give_back(var)
            layer.group.remove()
            if slot is not None:
                slot.give_back()

        return Plan(
            command=command,
            furnish=furnish if spec.package_dir is None else None,
            lay=var.lay,
            walls=True,
            ahead=early is not None,
            filter=self._home.filter,
            group=group,
            spec=spec,
            dress=_where_it_is if is_open else _as_it_is,
            user=None if slot is None else slot.uid,
            explain=explained,
            stragglers=list,
            let_go=let_go,
            connect=connect,
            is_current=lambda: wiring.outlook in (None, self._lookout.now()),
        )

    def _room(self, spec: CellSpec, var: Var, wiring: Wiring) -> list[str]:
        home = self._home
        names = written(var.names, spec.network, wiring)
        room = mounts(
            spec.frame,
            spec.package_dir,
            var=var.at,
            bootstrap=home.bootstrap,
            etc=home.etc,
            names=names,
        )
        return [*room, "--chdir", "/" if spec.package_dir is None else "/var/task"]


def launcher(spec: CellSpec, program: str, control: int, early: Mapping[str, str] | None) -> list[str]:
    """The launcher's words inside; it limits itself, and with it all that it starts. On the host's network
    it takes whatever ports are free. Where it is not to be a runtime itself it starts as bare as it can."""
    is_open = spec.network.mode is NetworkMode.HOST
    options = ["-I", "-S"] if early is None else []
    words = [spec.python, *options, program, f"control={control}"]
    words += ["port=0", "platform=0"] if is_open else ["port=9001", f"platform={PLATFORM_PORT}"]
    return [*words, "output=/output", "adopt=0", f"ahead={int(early is not None)}"]


def variables(spec: CellSpec, early: Mapping[str, str] | None) -> list[str]:
    """What the launcher starts with: a runtime's own, or no more than its interpreter needs."""
    library = {"LD_LIBRARY_PATH": f"{LANG}/lib"} if spec.runtime_root else {}
    found = library if early is None else early
    return [word for name, value in found.items() for word in ("--setenv", name, value)]


def programs() -> tuple[str, str]:
    """bwrap and setpriv; Unavailable with how to get them."""
    bwrap, setpriv = shutil.which("bwrap"), shutil.which("setpriv")
    if bwrap is None:
        raise Unavailable("bubblewrap is not installed; install it with: apt-get install bubblewrap")
    if setpriv is None and slots.needs_slot():
        raise Unavailable("setpriv is not installed; install it with: apt-get install util-linux")
    return bwrap, setpriv or ""


def _as_it_is(environment: Mapping[str, str], _: Ready) -> Mapping[str, str]:
    return environment


def _where_it_is(environment: Mapping[str, str], ready: Ready) -> Mapping[str, str]:
    return {**environment, **ready.addresses()}


def _true() -> str:
    found = next((path for path in ("/usr/bin/true", "/bin/true") if Path(path).exists()), None)
    if found is None:
        raise Unavailable("this system has no /usr/bin/true to try a sandbox with")
    return found
