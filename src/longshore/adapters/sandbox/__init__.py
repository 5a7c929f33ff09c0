# SPDX-License-Identifier: Apache-2.0
"""The walls around handlers on this machine."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from longshore.adapters.sandbox.bubblewrap import Bubblewrap, programs
from longshore.adapters.sandbox.home import open_home
from longshore.adapters.sandbox.process import Process
from longshore.adapters.sandbox.seccomp import this_machine
from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import Sandbox

Kind = Literal["auto", "bubblewrap", "process"]
LEVELS: Mapping[str, str] = {
    "strict": (
        "bubblewrap and control groups: a handler has namespaces, a user and a system call filter of its own,"
        " and the kernel holds it to its memory, its cores and its number of processes"
    ),
    "limits": (
        "bubblewrap without control groups, as an ordinary user's server has it: the same walls; its number"
        " of processes is held by rlimits, its memory by a watch that looks every 50 ms, its cores by"
        " priority alone"
    ),
    "process": (
        "no walls (--sandbox process): a handler is a process of this machine that sees its files, its"
        " processes and its network; for trusted code only"
    ),
}
"""What `Isolation.level` may be, in a sentence each."""


async def open_sandbox(kind: Kind, directory: Path) -> Sandbox:
    """A maker of cells that keeps its things below `directory`; what servers left there that died is removed.

    `auto` takes bubblewrap and nothing less: where it does not work this raises Unavailable with what is
    missing and the command that mends it. `process` has no walls and must be asked for by name.
    """
    if kind == "process":
        home = await asyncio.to_thread(open_home, directory)
        return Process(home, shutil.which("setpriv") or "")
    try:
        return await _bubblewrap(directory)
    except Unavailable as error:
        raise Unavailable(
            f"{error.message}. For trusted code only, there is also --sandbox process"
        ) from error


async def _bubblewrap(directory: Path) -> Sandbox:
    bwrap, setpriv = programs()
    if this_machine() is None:
        raise Unavailable("no system call filter for this processor yet; x86_64 and aarch64 have one")
    sandbox = Bubblewrap(await asyncio.to_thread(open_home, directory), bwrap, setpriv)
    try:
        await sandbox.check()
    except BaseException:
        await sandbox.close()
        raise
    return sandbox
