# SPDX-License-Identifier: Apache-2.0
"""Cells made of namespaces, by bubblewrap.

sh (root, if we are)  into the control group
  └ setpriv           away from root, to the cell's own user
      └ bwrap         user, pid, network, ipc, uts, cgroup and mount namespaces; seccomp; no capability
          └ launcher
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from longshore.adapters.sandbox import slots, wires
from longshore.adapters.sandbox.cell import LiveCell
from longshore.adapters.sandbox.cgroups import Group
from longshore.adapters.sandbox.control import Ready
from longshore.adapters.sandbox.home import Home
from longshore.adapters.sandbox.launch import Doors, Plan, joining, launch
from longshore.adapters.sandbox.limits import Bounds, made, quota
from longshore.adapters.sandbox.names import Names, written
from longshore.adapters.sandbox.rooms import BOOTSTRAP, GID, LANG, UID, mounts, system
from longshore.adapters.sandbox.slots import Slot
from longshore.adapters.sandbox.trouble import explained
from longshore.adapters.sandbox.watch import Watch
from longshore.adapters.sandbox.wires import Wiring
from longshore.domain.errors import Unavailable
from longshore.domain.network import NetworkMode
from longshore.ports.sandbox import PLATFORM_PORT, Cell, CellSpec, Isolation

CHECK_TIMEOUT_S = 30
_MB = 2**20
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
        self._live: set[LiveCell] = set()

    @property
    def isolation(self) -> Isolation:
        """`strict` with memory, pids and cpu under control of the kernel, `limits` otherwise."""
        words = tuple(self._bounds.missing())
        return Isolation(level="limits" if words else "strict", words=words)

    async def launch(self, spec: CellSpec) -> Cell:
        """Some 60 ms, half of them Python's own start."""
        spec = slots.within_reach(spec)
        wiring = await wires.planned(spec.network)
        with contextlib.ExitStack() as undo:
            slot = slots.take()
            if slot is not None:
                undo.callback(slot.give_back)
            name = self._home.next_name()
            group = made(self._home.groups, name, quota(spec))
            undo.callback(group.remove)
            names = written(self._home.cells / f"{name}-names", spec.network, wiring)
            undo.callback(names.remove)
            plan = self._plan(spec, slot, group, wiring, names)
            undo.pop_all()
        cell = await launch(plan, self._watch)
        self._live = {one for one in self._live if not one.is_over} | {cell}
        return cell

    async def close(self) -> None:
        """Cells first, then what they stood on."""
        await asyncio.gather(*(cell.gone() for cell in self._live))
        self._live.clear()
        await self._watch.close()
        await asyncio.to_thread(self._home.close)

    async def check(self) -> None:
        """Put up the walls once around a program that does nothing; Unavailable with the way to mend them."""
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        slot = slots.take()
        try:
            with self._home.filter.open("rb") as filter_file:
                number = filter_file.fileno()
                inside = [
                    *WALLS,
                    *OWN_NETWORK,
                    *system(self._home.etc),
                    "--remount-ro",
                    "/",
                    "--seccomp",
                    str(number),
                ]
                command = [*slots.drop(slot, self._setpriv), self._bwrap, *inside, "--", _true()]
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

    def _plan(self, spec: CellSpec, slot: Slot | None, group: Group, wiring: Wiring, names: Names) -> Plan:
        room = mounts(spec, bootstrap=self._home.bootstrap, etc=self._home.etc, names=names.mounts)
        is_open = spec.network.mode is NetworkMode.HOST
        walls = [*WALLS, *(() if is_open else OWN_NETWORK), *room, "--chdir", "/var/task"]
        before = slots.drop(slot, self._setpriv)

        def command(doors: Doors) -> Sequence[str]:
            numbers = ["--seccomp", str(doors.filter), "--info-fd", str(doors.info)]
            library = ["--setenv", "LD_LIBRARY_PATH", f"{LANG}/lib"] if spec.runtime_root else []
            inside = ["--", *launcher(spec, doors.control, is_open=is_open), *self._bounds.words(spec)]
            return joining(group, [*before, self._bwrap, *walls, *library, *numbers, *inside])

        def let_go() -> None:
            names.remove()
            if slot is not None:
                slot.give_back()

        return Plan(
            command=command,
            walls=True,
            filter=self._home.filter,
            group=group,
            memory_limit=spec.memory_mb * _MB,
            dress=_where_it_is if is_open else _as_it_is,
            explain=explained,
            stragglers=list,
            let_go=let_go,
            connect=lambda pid: wires.connect(pid, wiring, slot=slot, setpriv=self._setpriv),
        )


def launcher(spec: CellSpec, control: int, *, is_open: bool) -> list[str]:
    """The launcher's words inside; it limits itself, and with it all that it starts. On the host's network
    it takes whatever ports are free."""
    words = [spec.python, "-I", "-S", f"{BOOTSTRAP}/launcher.py", f"control={control}"]
    words += ["port=0", "platform=0"] if is_open else ["port=9001", f"platform={PLATFORM_PORT}"]
    return [*words, "output=/output", "adopt=0"]


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
