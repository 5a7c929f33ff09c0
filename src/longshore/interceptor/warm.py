# SPDX-License-Identifier: Apache-2.0
"""Environments that wait for the next run of their task.

    take ─▶ run ─▶ keep ─▶ held still ─▶ take ...        ten minutes idle, memory wanted, a newer revision,
                     ╰────────────────────────▶ end      other secrets, the end of the server

Whatever a run did, its environment serves nobody but the next run of the same key, one at a time.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field

import structlog

from longshore.domain.errors import Unavailable
from longshore.domain.order import Invocation
from longshore.domain.warm import WarmKey
from longshore.interceptor.doors import Doors, leads_to
from longshore.interceptor.platform_door import PlatformDoor
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
    runs: int = 0
    memory_mb: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _resting: "asyncio.Task[None] | None" = None
    _watch: "asyncio.Task[None] | None" = None

    @property
    def is_cold(self) -> bool:
        """Whether no run has come to its end here."""
        return self.runs == 0

    async def open(self) -> None:
        """Answer at every door of the cell."""
        await self.api.start()
        await self.platform.open()
        for pair, door in self.cell.doors.items():
            await self.doors.open(door, leads_to(pair))

    async def end(self) -> None:
        """Nothing is left of it. May be called again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
        await self.api.close()
        await self.platform.close()
        await self.doors.close()
        await self.cell.kill()


@dataclass(slots=True)
class Environments:
    """Those that wait, the longest unused first, within `memory_mb` for them and the runs under way."""

    memory_mb: int
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
            yield
        finally:
            self._busy_mb -= wanted

    async def take(self, key: WarmKey) -> Environment | None:
        """The one that was used last; it is the taker's. Those that this key replaces end."""
        for one in [one for one in self._kept if key.replaces(one.key)]:
            self._begin(self._evicted(one))
        found = next((one for one in reversed(self._kept) if one.key == key), None)
        if found is None:
            return None
        self._forget(found)
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
        loop = asyncio.get_running_loop()
        environment._timer = loop.call_later(STILL_AFTER_S, self._hold, environment)
        if environment._watch is None:
            environment._watch = asyncio.create_task(self._watch(environment))
        self._kept.append(environment)
        if len(self._kept) > MOST:
            self._begin(self._evicted(self._kept[0]))
        return True

    def _hold(self, environment: Environment) -> None:
        async def rest() -> None:
            try:
                await environment.cell.rest()
            except Unavailable as error:
                _log.info("environment given up", task=environment.key.task, reason=error.message)
                await self._evicted(environment)

        environment._resting = self._begin(rest())
        loop = asyncio.get_running_loop()
        environment._timer = loop.call_later(IDLE_S, lambda: self._begin(self._evicted(environment)))

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
