# SPDX-License-Identifier: Apache-2.0
"""Environments that wait for the next run of their task.

    take ─▶ run ─▶ keep ───▶ held still ─▶ take ...      ten minutes idle, memory wanted, a newer revision,
             ╰───▶ restart ─▶ ready ─────▶ take ...      other secrets, the end of the server ─▶ end

Whatever a run did, its environment serves nobody but the next run of the same key, one at a time. One whose
runtime has timed out, crashed or left processes behind keeps its sandbox and /tmp and has its runtime started
anew. That happens behind the run's back, which has been answered by then, and not at the next run's cost: it
finds an interpreter that waits, like one that has booted ahead. A run that comes sooner waits for the rest.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from longshore.domain.errors import Unavailable
from longshore.domain.masking import Masks
from longshore.domain.order import Invocation
from longshore.domain.warm import WarmKey
from longshore.interceptor.doors import Doors, leads_to
from longshore.interceptor.platform_door import PlatformDoor
from longshore.interceptor.pool import Pool
from longshore.interceptor.tail import Tail
from longshore.ports.sandbox import Cell
from longshore.runtime_api.server import RuntimeApi

IDLE_S = 600.0
STILL_AFTER_S = 0.02
"""Whoever comes at once finds it as it is: holding still and letting go cost more than a short run."""
MOST = 64
_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Environment:
    """A cell with its runtime and its doors, as it serves run after run. Connections to allowed addresses may
    stay from one run to the next; those to the platform end with the run, whose token they have."""

    cell: Cell
    api: RuntimeApi
    key: WarmKey
    platform: PlatformDoor
    doors: Doors = field(default_factory=Doors)
    tail: Tail | None = None
    runs: int = 0
    memory_mb: float = 0.0
    is_cleared: bool = False
    _timer: asyncio.TimerHandle | None = None
    _resting: "asyncio.Task[None] | None" = None
    _watch: "asyncio.Task[None] | None" = None

    async def log(self, masks: Masks, now: Callable[[], datetime]) -> Tail:
        """What follows the output of its cell. All runs of one key have the same masks."""
        if self.tail is None:
            self.tail = Tail(masks, now)
            await self.tail.start(stdout=self.cell.stdout, stderr=self.cell.stderr)
        return self.tail

    @property
    def is_cold(self) -> bool:
        """Whether its runtime has brought no run to its end."""
        return self.runs == 0

    async def open(self) -> None:
        """Answer at every door of the cell."""
        await self.api.start()
        self.platform.open()
        for pair, door in self.cell.doors.items():
            self.doors.open(door, leads_to(pair))

    async def renew(self) -> None:
        """Start the runtime anew where it was cleared. Raises Unavailable."""
        await self._shut()
        await self.cell.renew()
        self.api = RuntimeApi(self.cell.runtime_api)
        self.is_cleared = False

    async def _shut(self) -> None:
        await self.api.close()
        await self.platform.close()
        await self.doors.close()

    async def end(self) -> None:
        """Nothing is left of it. May be called again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
        await self._shut()
        if self.tail is not None and self.tail.is_idle:  # a run's own is read to its end
            self.tail.let_go()
        await self.cell.kill()


@dataclass(slots=True)
class Environments:
    """Those that wait, the longest unused first, within `memory_mb` for them and the runs under way. What is
    left of it, cells may take that boot ahead of need."""

    memory_mb: int
    pool: Pool | None = None
    idle_s: float = IDLE_S
    most: int = MOST
    _kept: list[Environment] = field(default_factory=list)
    _busy_mb: int = 0
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _is_over: bool = False

    def key(self, invocation: Invocation, runtime: str) -> WarmKey:
        """The key of a run."""
        asked = (
            invocation.handler,
            invocation.project,
            sorted(invocation.environment.items()),
            invocation.masks,
        )
        said = repr(asked).encode("utf-8", "surrogatepass")
        return WarmKey(
            project_id=invocation.project_id,
            task=invocation.task,
            revision=invocation.revision,
            package=invocation.package,
            runtime=runtime,
            limits=invocation.limits,
            network=invocation.network,
            fingerprint=hashlib.blake2b(said, key=self._salt, digest_size=16).digest(),
        )

    def has(self, key: WarmKey) -> bool:
        """Whether one of this key waits."""
        return any(one.key == key for one in self._kept)

    @contextlib.asynccontextmanager
    async def room(self, key: WarmKey) -> AsyncIterator[None]:
        """While the block runs, a run of this key has the memory that it may take."""
        wanted = key.limits.memory_mb
        self._busy_mb += wanted
        try:
            spare = [one for one in self._kept if one.key != key]
            excess = self._busy_mb + sum(one.memory_mb for one in spare) - self.memory_mb
            ending = []
            for one in spare:
                if excess <= 0:
                    break
                excess -= one.memory_mb
                ending.append(self._evicted(one))
            await asyncio.gather(*ending)
            self._leave_to_cells()
            yield
        finally:
            self._busy_mb -= wanted
            self._leave_to_cells()

    def _leave_to_cells(self) -> None:
        if self.pool is not None:
            self.pool.allow(self.memory_mb - self._busy_mb - sum(one.memory_mb for one in self._kept))

    async def take(self, key: WarmKey) -> Environment | None:
        """The one that was used last; it is the taker's. Those that this key replaces end."""
        for one in [one for one in self._kept if key.replaces(one.key)]:
            self._begin(self._evicted(one))
        mine = [one for one in reversed(self._kept) if one.key == key]
        found = next((one for one in mine if not one.is_cold), mine[0] if mine else None)
        if found is None:
            return None
        self._forget(found)
        if found.is_cleared and found._resting is None:
            self._renew(found)
        if found._resting is not None:
            await asyncio.wait({found._resting})
        return found

    def keep(self, environment: Environment, memory_mb: float) -> bool:
        """Keep one that holds so much for its next run; False when it is not wanted, and the caller's to
        end."""
        if self._is_over or (environment._watch is not None and environment._watch.done()):
            return False
        environment.runs += 1
        environment.memory_mb = memory_mb
        if environment._watch is None:
            environment._watch = asyncio.create_task(self._watch(environment))
        self._put(environment, self._hold)
        return True

    def restart(self, environment: Environment) -> bool:
        """The same for one that was cleared."""
        if self._is_over:
            return False
        if environment._watch is not None:
            environment._watch.cancel()
        environment.runs, environment.is_cleared = 0, True
        self._put(environment, self._renew)
        return True

    def _put(self, environment: Environment, then: Callable[[Environment], None]) -> None:
        loop = asyncio.get_running_loop()
        environment._timer = loop.call_later(STILL_AFTER_S, then, environment)
        environment._resting = None
        self._kept.append(environment)
        if len(self._kept) > self.most:
            self._begin(self._evicted(self._kept[0]))

    def _hold(self, environment: Environment) -> None:
        self._then_wait(environment, environment.cell.rest())

    def _renew(self, environment: Environment) -> None:
        async def renew() -> None:
            await environment.renew()
            environment.memory_mb = environment.cell.usage().peak_memory_mb
            environment._watch = asyncio.create_task(self._watch(environment))

        self._then_wait(environment, renew())

    def _then_wait(self, environment: Environment, work: Coroutine[None, None, None]) -> None:
        """Do what is to be done to it; it is given up where that fails, or when nobody comes for long."""

        async def attempt() -> None:
            try:
                await work
            except Unavailable as error:
                _log.info("environment given up", task=environment.key.task, reason=error.message)
                await self._evicted(environment)

        environment._resting = self._begin(attempt())
        if environment in self._kept:
            loop = asyncio.get_running_loop()
            later = loop.call_later(self.idle_s, lambda: self._begin(self._evicted(environment)))
            environment._timer = later

    async def _watch(self, environment: Environment) -> None:
        """One that ends while it waits is forgotten; a run that has it notices by itself."""
        await environment.cell.exited()
        if environment in self._kept:
            await self._evicted(environment)

    async def _evicted(self, environment: Environment) -> None:
        if environment in self._kept:
            self._forget(environment)
            await environment.end()

    def _forget(self, environment: Environment) -> None:
        self._kept.remove(environment)
        if environment._timer is not None:
            environment._timer.cancel()
            environment._timer = None

    def _begin(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End them all."""
        self._is_over = True
        await asyncio.gather(*(self._evicted(one) for one in list(self._kept)))
        await asyncio.gather(*self._tasks, return_exceptions=True)
