# SPDX-License-Identifier: Apache-2.0
"""What this machine has for sandboxes, in words that a person can act on."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import egress, slots, wires
from longshore.adapters.sandbox.bubblewrap import OWN_NETWORK, WALLS, Bubblewrap, programs
from longshore.adapters.sandbox.cgroups import Bare, Groups
from longshore.adapters.sandbox.child import Child
from longshore.adapters.sandbox.egress import Lookout
from longshore.adapters.sandbox.home import Home, open_home
from longshore.adapters.sandbox.launch import first_process
from longshore.adapters.sandbox.limits import Bounds
from longshore.adapters.sandbox.rooms import system
from longshore.adapters.sandbox.seccomp import this_machine
from longshore.adapters.sandbox.trouble import namespaces_closed
from longshore.adapters.sandbox.wires import Layer
from longshore.domain.errors import Unavailable
from longshore.domain.network import Network

GROUPS, WAY_OUT = "control groups", "outbound network"
_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One finding. `ok` is None where it is neither good nor bad."""

    name: str
    ok: bool | None
    words: str


async def probe() -> Sequence[Probe]:
    """Look at everything; puts up real walls once to see whether they stand."""
    walls, groups, way_out = await _walls()
    return (walls, _user_namespaces(walls), _seccomp(), groups, way_out)


async def _walls() -> tuple[Probe, Probe, Probe]:
    with tempfile.TemporaryDirectory(prefix="longshore-probe-") as place:
        os.chmod(place, 0o711)  # noqa: S103  (sandbox users pass through; nobody may list it)
        try:
            home = await asyncio.to_thread(open_home, Path(place, "sandbox"))
        except Unavailable as error:
            others = [Probe(name=name, ok=None, words="not looked at") for name in (GROUPS, WAY_OUT)]
            return Probe(name="bubblewrap", ok=False, words=error.message), others[0], others[1]
        why_not: str | None = "there are no walls for them"
        try:
            bwrap, setpriv = programs()
            await Bubblewrap(home, bwrap, setpriv).check()
            found = Probe(name="bubblewrap", ok=True, words=f"{_version(bwrap)}, its walls stand")
            why_not = await way_out(home, bwrap, setpriv)
        except Unavailable as error:
            found = Probe(name="bubblewrap", ok=False, words=error.message)
        groups = _control_groups(home.groups)
        await asyncio.to_thread(home.close)
        return found, groups, _egress(why_not)


async def way_out(home: Home, bwrap: str, setpriv: str) -> str | None:
    """Lay a way out once around a program that does nothing; why there is none, with what to do."""
    if why := egress.missing():
        return why
    wiring = await wires.planned(Network(), Lookout().now())
    with contextlib.ExitStack() as undo:
        slot = slots.take()
        if slot is not None:
            undo.callback(slot.give_back)
        info, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for number in (info, told, nothing):
            undo.callback(os.close, number)
        walls = [*WALLS, *OWN_NETWORK, *system(home.etc), "--info-fd", str(told)]
        command = [*slots.drop(slot, setpriv), bwrap, *walls, "--", "/bin/sleep", "60"]
        child = Child(command, stdout=nothing, stderr=nothing, pass_fds=(told,))
        first = await first_process(info, child)
        layer = Layer(wiring=wiring, slot=slot, setpriv=setpriv, group=Bare(), mark=home.at.name)
        try:
            laid = await layer.connect(first.pid if first is not None else None)
            laid.cut()
            await laid.gone()
        except Unavailable as error:
            return error.message
        finally:
            (first or child).kill()
            await child.ended
            if first is not None:
                first.close()
        return laid.trouble


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).strip().splitlines()[0] if said.stdout or said.stderr else program


def _user_namespaces(walls: Probe) -> Probe:
    closed = namespaces_closed()
    if walls.ok or closed is None:
        return Probe(name="user namespaces", ok=closed is None or walls.ok, words="open to ordinary users")
    return Probe(name="user namespaces", ok=False, words=closed)


def _seccomp() -> Probe:
    if this_machine() is None:
        return Probe(name="seccomp", ok=False, words=f"no filter for {os.uname().machine} processors yet")
    if _ACTIONS.exists() and "kill_process" in _ACTIONS.read_text(encoding="ascii"):
        return Probe(name="seccomp", ok=True, words="the kernel filters system calls")
    return Probe(name="seccomp", ok=False, words="this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")


def _control_groups(groups: Groups) -> Probe:
    lacking = Bounds(groups.controllers, walls=True).missing()
    if not lacking:
        return Probe(name=GROUPS, ok=True, words="memory, pids and cpu are limited by the kernel")
    advice = (
        "start the server as root, or as a systemd service with Delegate=yes"
        if os.geteuid()
        else "make /sys/fs/cgroup writable for this server (a container needs --cgroupns=private and rw)"
    )
    return Probe(name=GROUPS, ok=None, words=f"{'; '.join(lacking)}; to change that, {advice}")


def _egress(why_not: str | None) -> Probe:
    if why_not is None:
        return Probe(name=WAY_OUT, ok=True, words="sandboxes have it, by pasta")
    return Probe(name=WAY_OUT, ok=None, words=f"sandboxes have none: {why_not}")
