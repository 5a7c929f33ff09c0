# SPDX-License-Identifier: Apache-2.0
"""The interceptor's agent: claims a run whenever it has room, and carries out what it claimed."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from longshore.domain.errors import LongshoreError
from longshore.domain.fleet import Interceptor, Slots
from longshore.domain.order import Lease, Room
from longshore.interceptor.execute import Executor
from longshore.ports.link import Link

SIGN_OF_LIFE_EVERY_S = 5.0
LEAST_ROOM = Room(cpus=0.1, memory_mb=64)
_log = structlog.get_logger()


@dataclass(slots=True)
class Agent:
    """One process on one machine."""

    me: Interceptor
    link: Link
    executor: Executor
    slots: Slots
    running: set["asyncio.Task[None]"] = field(default_factory=set)
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Register, then claim and carry out until cancelled; what runs is stopped then."""
        await self.link.register(self.me)
        ready()
        living = asyncio.create_task(self._live())
        try:
            while True:
                await self._claim_one()
        finally:
            living.cancel()
            for task in self.running:
                task.cancel()
            await asyncio.gather(living, *self.running, return_exceptions=True)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_EVERY_S)
            with contextlib.suppress(LongshoreError):
                await self.link.register(self.me)

    async def _claim_one(self) -> None:
        """Wait for room, then for a run that fits into it."""
        free = self.slots.free
        if self.me.draining or free.cpus < LEAST_ROOM.cpus or free.memory_mb < LEAST_ROOM.memory_mb:
            self.freed.clear()
            await self.freed.wait()
            return
        try:
            lease = await self.link.claim(self.me, free)
        except LongshoreError as error:
            _log.warning("cannot claim", reason=error.message)
            await asyncio.sleep(1)
            return
        if lease is not None:
            self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        taken = Room(cpus=lease.limits.cpus, memory_mb=lease.limits.memory_mb)
        self.slots = self.slots.take(taken)
        task = asyncio.create_task(self.executor.carry_out(lease))
        self.running.add(task)

        def done(ended: "asyncio.Task[None]") -> None:
            self.running.discard(ended)
            self.slots = self.slots.give_back(taken)
            self.freed.set()

        task.add_done_callback(done)

    def drain(self) -> None:
        """Claim nothing more."""
        self.me = replace(self.me, draining=True)
