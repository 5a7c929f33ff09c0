# SPDX-License-Identifier: Apache-2.0
"""What this machine has for sandboxes, in words that a person can act on."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import egress
from longshore.adapters.sandbox.bubblewrap import Bubblewrap, programs
from longshore.adapters.sandbox.cgroups import Groups
from longshore.adapters.sandbox.home import open_home
from longshore.adapters.sandbox.limits import Bounds
from longshore.adapters.sandbox.seccomp import this_machine
from longshore.adapters.sandbox.trouble import namespaces_closed
from longshore.domain.errors import Unavailable

_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One finding. `ok` is None where it is neither good nor bad."""

    name: str
    ok: bool | None
    words: str


async def probe() -> Sequence[Probe]:
    """Look at everything; puts up real walls once to see whether they stand."""
    walls, groups = await _walls()
    return (walls, _user_namespaces(walls), _seccomp(), groups, _egress())


async def _walls() -> tuple[Probe, Probe]:
    with tempfile.TemporaryDirectory(prefix="longshore-probe-") as place:
        os.chmod(place, 0o711)  # noqa: S103  (sandbox users pass through; nobody may list it)
        try:
            home = await asyncio.to_thread(open_home, Path(place, "sandbox"))
        except Unavailable as error:
            words = Probe(name="control groups", ok=None, words="not looked at")
            return Probe(name="bubblewrap", ok=False, words=error.message), words
        try:
            bwrap, setpriv = programs()
            await Bubblewrap(home, bwrap, setpriv).check()
            found = Probe(name="bubblewrap", ok=True, words=f"{_version(bwrap)}, its walls stand")
        except Unavailable as error:
            found = Probe(name="bubblewrap", ok=False, words=error.message)
        groups = _control_groups(home.groups)
        await asyncio.to_thread(home.close)
        return found, groups


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
        return Probe(name="control groups", ok=True, words="memory, pids and cpu are limited by the kernel")
    advice = (
        "start the server as root, or as a systemd service with Delegate=yes"
        if os.geteuid()
        else "make /sys/fs/cgroup writable for this server (a container needs --cgroupns=private and rw)"
    )
    return Probe(name="control groups", ok=None, words=f"{'; '.join(lacking)}; to change that, {advice}")


def _egress() -> Probe:
    why = egress.missing()
    if why is None:
        return Probe(name="outbound network", ok=True, words="pasta is installed, /dev/net/tun is open to it")
    return Probe(name="outbound network", ok=None, words=f"sandboxes have none: {why}")
