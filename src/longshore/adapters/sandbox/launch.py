# SPDX-License-Identifier: Apache-2.0
"""From a command to a launcher that is ready, or to nothing at all."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cell import Body, First, LiveCell
from longshore.adapters.sandbox.cgroups import Group, bring_in, kill_all
from longshore.adapters.sandbox.child import Child
from longshore.adapters.sandbox.control import Control, Ready
from longshore.adapters.sandbox.limits import quota
from longshore.adapters.sandbox.watch import Watch
from longshore.adapters.sandbox.wires import Wires
from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import CellSpec

READY_TIMEOUT_S = 30.0
WITHOUT_WALLS = 2  # the launcher and the runtime
WITH_WALLS = 2 + WITHOUT_WALLS  # and bwrap, outside and as the first process inside
_MB = 2**20
_FIRST_PROCESS = re.compile(rb'"child-pid"\s*:\s*(\d+)\D')


@dataclass(frozen=True, slots=True)
class Doors:
    """Numbers of descriptors that the command inherits: the launcher's end, bwrap's info and filter."""

    control: int
    info: int
    filter: int

    @property
    def numbers(self) -> tuple[int, int, int]:
        """All of them."""
        return (self.control, self.info, self.filter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start and what comes with it. `explain` turns what was said on stderr into a sentence;
    `walls`: it is bwrap that is started, which takes the filter and says who its first process is;
    `ahead` as in Body;
    `connect` lays its network, beside its boot, once that process is known;
    `furnish`, `lay` and `is_current` as in Body."""

    command: Callable[[Doors], Sequence[str]]
    walls: bool
    ahead: bool
    filter: Path
    group: Group
    spec: CellSpec
    user: int | None
    dress: Callable[[Mapping[str, str], Ready], Mapping[str, str]]
    explain: Callable[[str], str]
    furnish: Callable[[CellSpec], Awaitable[None]] | None
    lay: Callable[[Mapping[str, Path]], None]
    stragglers: Callable[[], Sequence[int]]
    let_go: Callable[[], None]
    connect: Callable[[int | None], Awaitable[Wires]]
    is_current: Callable[[], bool] = lambda: True
    cwd: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)


async def launch(plan: Plan, watch: Watch) -> LiveCell:
    """Start it and wait until the launcher is ready. Whatever goes wrong, nothing stays behind."""
    mine: list[int] = []
    control: Control | None = None
    child: Child | None = None
    first: First | None = None
    connecting: asyncio.Task[Wires] | None = None
    entering: asyncio.Task[None] | None = None
    try:
        with contextlib.ExitStack() as theirs:
            inside = _doors(plan, mine, theirs)
            stdout, stderr = _pipe(mine, theirs), _pipe(mine, theirs)
            control = Control(inside.ours)
            child = Child(
                plan.command(inside.doors),
                stdout=stdout,
                stderr=stderr,
                pass_fds=inside.doors.numbers if plan.walls else (inside.doors.control,),
                environment=plan.environment,
                cwd=plan.cwd,
            )
        entering = _entering(plan.group, child)
        first = await first_process(mine[0], child) if plan.walls else None
        connecting = asyncio.ensure_future(plan.connect(first.pid if first else None))
        ready = await _ready(control, child, plan, mine[2])
        wires = await connecting
        await entering  # nothing of a handler runs before this, and nobody else is born
        body = Body(
            child=child,
            control=control,
            group=plan.group,
            quota=quota(plan.spec),
            user=plan.user,
            stdout=mine[1],
            stderr=mine[2],
            first=first,
            own_processes=WITH_WALLS if plan.walls else WITHOUT_WALLS,
            ahead=plan.ahead,
            wires=wires,
            dress=plan.dress,
            furnish=plan.furnish,
            lay=plan.lay,
            is_current=plan.is_current,
            stragglers=plan.stragglers,
            let_go=plan.let_go,
        )
        cell = LiveCell(body, ready, plan.spec.memory_mb * _MB, watch)
        os.close(mine[0])
        return cell
    except BaseException:
        await asyncio.shield(_undo(plan, child, control, mine, first, connecting, entering))
        raise


def _entering(group: Group, child: Child) -> "asyncio.Task[None]":
    """On its way into its group, beside its boot."""

    child.hold()

    async def enter() -> None:
        try:
            await asyncio.to_thread(bring_in, group, child.pid)
        except OSError as error:
            raise Unavailable(f"the sandbox could not be brought into its control group: {error}") from error
        finally:
            child.release()

    return asyncio.ensure_future(enter())


@dataclass(frozen=True, slots=True)
class _Inside:
    ours: socket.socket
    doors: Doors


def _doors(plan: Plan, mine: list[int], theirs: contextlib.ExitStack) -> _Inside:
    ours, control = socket.socketpair()
    theirs.enter_context(control)
    info = _pipe(mine, theirs)
    number = os.open(plan.filter, os.O_RDONLY | os.O_CLOEXEC)
    theirs.callback(os.close, number)
    return _Inside(ours, Doors(control.fileno(), info, number))


def _pipe(mine: list[int], theirs: contextlib.ExitStack) -> int:
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writing, True)
    mine.append(reading)
    theirs.callback(os.close, writing)
    return writing


async def _ready(control: Control, child: Child, plan: Plan, stderr: int) -> Ready:
    either: set[asyncio.Future[Any]] = {control.ready, child.ended}
    await asyncio.wait(either, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    ready = control.ready.result() if control.ready.done() else None
    if ready is None:
        said = _read(stderr).decode("utf-8", "replace").strip()
        late = "" if child.ended.done() else f"nothing happened for {READY_TIMEOUT_S:g} s"
        raise Unavailable(f"the sandbox did not start: {plan.explain(said or late or 'it ended at once')}")
    return ready


async def first_process(info: int, child: Child) -> First | None:
    """The namespace's first process, as soon as bwrap says which it is; in pieces, if it likes."""
    said = b""
    until = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until:
        is_over = child.ended.done()
        said += _read(info)
        if found := _FIRST_PROCESS.search(said):
            with contextlib.suppress(ProcessLookupError):
                return First(int(found[1]), os.pidfd_open(int(found[1])))
            return None
        if is_over:
            break
        await asyncio.sleep(0.001)
    return None


def _read(number: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(number, 65536)
    return b""


async def _undo(
    plan: Plan,
    child: Child | None,
    control: Control | None,
    mine: Sequence[int],
    first: First | None,
    connecting: "asyncio.Task[Wires] | None",
    entering: "asyncio.Task[None] | None",
) -> None:
    if entering is not None:
        await asyncio.gather(entering, return_exceptions=True)
    if connecting is not None:
        connecting.cancel()
        [wires] = await asyncio.gather(connecting, return_exceptions=True)
        if isinstance(wires, Wires):
            wires.cut()
            await wires.gone()
    if control is not None:
        ready = control.ready.result() if control.ready.done() else None
        if ready is not None:
            ready.runtime_api.close()
            ready.platform.close()
            os.close(ready.output)
        control.close()
    if child is not None:
        await _end(child, plan.group)
    if first is not None:
        first.close()
    for number in mine:
        os.close(number)
    for _ in range(400):
        if plan.group.remove():
            break
        await asyncio.sleep(0.005)
    plan.let_go()


async def _end(child: Child, group: Group) -> None:
    """End a launch half-way. bwrap's first process waits for its parent for ever before it has made its
    promise to die with it: so the parent is held still, and its children go first."""
    while not child.ended.done():
        child.send(signal.SIGSTOP)
        await asyncio.sleep(0.005)
        children = kin.descendants(child.pid)[1:]
        kill_all(children)
        child.send(signal.SIGCONT if children else signal.SIGKILL)
        await asyncio.wait({child.ended}, timeout=0.1)
    group.kill()
