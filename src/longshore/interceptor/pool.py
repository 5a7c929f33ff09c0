# SPDX-License-Identifier: Apache-2.0
"""Cells that have booted before anybody needs them: sandbox, interpreter and client, no code, no secret.

One waits for each kind of cell that was used lately, two while runs come faster than cells boot. There are
none before the first run, none ten minutes after the last, and none where runs and warm environments leave no
memory for them.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field

import structlog

from longshore.domain.errors import LongshoreError, Unavailable
from longshore.domain.network import NetworkMode
from longshore.ports.sandbox import Cell, CellSpec, Frame, Sandbox

BUSY_S = 60.0
IDLE_S = 600.0
REFILL_AFTER_S = 0.1
"""Booting takes a core for a moment: the run that took the cell goes first."""
MOST_KINDS = 4
CELL_MB = 20
EGRESS_MB = 30
"""What one that waits takes of the machine, and what its way out takes beside it."""
_log = structlog.get_logger()


@dataclass(slots=True)
class _Shelf:
    frame: Frame
    environment: Mapping[str, str]
    ready: list[Cell] = field(default_factory=list)
    watchers: dict[Cell, "asyncio.Task[None]"] = field(default_factory=dict)
    booting: int = 0
    used_at: float = 0.0
    missed_at: float = -BUSY_S

    @property
    def taken_mb(self) -> int:
        """What all of them take."""
        return (len(self.ready) + self.booting) * self.cell_mb

    @property
    def cell_mb(self) -> int:
        """What one of them takes."""
        return CELL_MB + EGRESS_MB * (self.frame.network.mode is NetworkMode.EGRESS)

    @property
    def wanted(self) -> int:
        """How many are to be ready."""
        return 2 if time.monotonic() - self.missed_at < BUSY_S else 1


class Pool:
    """Hands out cells; boots others behind the runs' backs."""

    def __init__(
        self, sandbox: Sandbox, *, idle_s: float = IDLE_S, refill_after_s: float = REFILL_AFTER_S
    ) -> None:
        self._sandbox = sandbox
        self._idle_s, self._refill_after_s = idle_s, refill_after_s
        self._room_mb = math.inf
        self._shelves: dict[Frame, _Shelf] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Frame, asyncio.TimerHandle] = {}
        self._is_over = self._is_pointless = False

    def has(self, frame: Frame) -> bool:
        """Whether a cell of this kind is at hand."""
        shelf = self._shelves.get(frame)
        return shelf is not None and bool(shelf.ready)

    def allow(self, memory_mb: float) -> None:
        """Take so much memory at most from here on: those that are too many end, the longest unused first."""
        self._room_mb = memory_mb
        for shelf in sorted(self._shelves.values(), key=lambda shelf: shelf.used_at):
            while shelf.ready and self._taken_mb() > memory_mb:
                self._end_one(shelf)

    def _is_full(self, shelf: _Shelf) -> bool:
        return self._taken_mb() + shelf.cell_mb > self._room_mb

    def _taken_mb(self) -> int:
        return sum(shelf.taken_mb for shelf in self._shelves.values())

    async def launch(self, spec: CellSpec, environment: Mapping[str, str] | None) -> Cell:
        """A cell for a run, of those at hand if there is one, else a fresh one. `environment` is what
        interpreters may start with ahead of need; None where this run needs a start of its own."""
        cell = self._taken(spec.frame, environment) if environment is not None else None
        if cell is not None:
            try:
                await cell.furnish(spec)
                return cell
            except Unavailable as error:
                _log.info("cell not used", reason=error.message)
                await cell.kill()
            except BaseException:
                await cell.kill()
                raise
        return await self._sandbox.launch(spec, environment)

    def _taken(self, frame: Frame, environment: Mapping[str, str]) -> Cell | None:
        if self._is_over or self._is_pointless:
            return None
        shelf = self._shelves.get(frame)
        if shelf is None:
            self._forget_the_oldest()
            shelf = self._shelves[frame] = _Shelf(frame, environment)
        elif not shelf.ready:
            shelf.missed_at = time.monotonic()
        shelf.used_at = time.monotonic()
        self._later(shelf, self._refill_after_s)
        if not shelf.ready:
            return None
        cell = shelf.ready.pop()
        shelf.watchers.pop(cell).cancel()
        return cell

    def _forget_the_oldest(self) -> None:
        if len(self._shelves) >= MOST_KINDS:
            self._drop(min(self._shelves.values(), key=lambda shelf: shelf.used_at))

    def _later(self, shelf: _Shelf, seconds: float) -> None:
        """Look after a shelf in a while; a nearer time takes the place of a later one."""
        if self._is_over:
            return
        timer = self._timers.pop(shelf.frame, None)
        if timer is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._timers[shelf.frame] = loop.call_later(seconds, self._look_after, shelf)

    def _look_after(self, shelf: _Shelf) -> None:
        idle = time.monotonic() - shelf.used_at
        if idle >= self._idle_s:
            self._drop(shelf)
            return
        for _ in range(shelf.wanted - len(shelf.ready) - shelf.booting):
            if not self._is_full(shelf):
                shelf.booting += 1
                self._begin(self._boot(shelf))
        self._later(shelf, self._idle_s - idle)

    async def _boot(self, shelf: _Shelf) -> None:
        try:
            cell = await self._sandbox.prepare(shelf.frame, shelf.environment)
        except LongshoreError as error:
            _log.warning("no cell could be prepared", reason=error.message)
            return
        finally:
            shelf.booting -= 1
        if cell is None:
            self._is_pointless = True
        elif self._is_over or self._shelves.get(shelf.frame) is not shelf or self._is_full(shelf):
            await cell.kill()
        else:
            shelf.ready.append(cell)
            shelf.watchers[cell] = asyncio.create_task(self._watch(shelf, cell))

    async def _watch(self, shelf: _Shelf, cell: Cell) -> None:
        """A cell that ends while it waits is nobody's loss."""
        await cell.exited()
        shelf.ready.remove(cell)
        del shelf.watchers[cell]
        await cell.kill()

    def _drop(self, shelf: _Shelf) -> None:
        del self._shelves[shelf.frame]
        timer = self._timers.pop(shelf.frame, None)
        if timer is not None:
            timer.cancel()
        while shelf.ready:
            self._end_one(shelf)

    def _end_one(self, shelf: _Shelf) -> None:
        cell = shelf.ready.pop()
        shelf.watchers.pop(cell).cancel()
        self._begin(cell.kill())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Kill those that wait, and wait for those on their way."""
        self._is_over = True
        for shelf in list(self._shelves.values()):
            self._drop(shelf)
        await asyncio.gather(*self._tasks, return_exceptions=True)
