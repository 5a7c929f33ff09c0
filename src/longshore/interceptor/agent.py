# SPDX-License-Identifier: Apache-2.0
"""The interceptor's agent: claims a run whenever it has room, and carries out what it claimed."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from longshore.domain.errors import LongshoreError, Unavailable
from longshore.domain.fleet import Interceptor, Slots
from longshore.domain.order import Lease, Room
from longshore.ports.link import Link

SIGN_OF_LIFE_EVERY_S = 5.0
CLAIM_AGAIN_AFTER_S = 1.0
LET_CLAIM_END_S = 0.05
LEAST_ROOM = Room(cpus=0.1, memory_mb=64)
_log = structlog.get_logger()


class CarriesOut(Protocol):
    """What an agent does with a lease; interceptor/execute.py's Executor."""

    async def carry_out(self, lease: Lease) -> None:
        """Everything between a lease and its end; raises nothing but its own cancellation."""
        ...


@dataclass(slots=True)
class Agent:
    """One process on one machine."""

    me: Interceptor
    link: Link
    executor: CarriesOut
    slots: Slots
    running: set["asyncio.Task[None]"] = field(default_factory=set)
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Register, then claim and carry out until cancelled; what runs is stopped then."""
        await self._register()
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

    async def _register(self) -> None:
        while True:
            try:
                await self.link.register(self.me)
            except Unavailable as error:
                _log.warning("cannot register", reason=error.message)
                await asyncio.sleep(CLAIM_AGAIN_AFTER_S)
            else:
                return

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_EVERY_S)
            with contextlib.suppress(LongshoreError):
                await self.link.register(self.me)

    async def _claim_one(self) -> None:
        """Wait for room, then for a run that fits into it."""
        self.freed.clear()
        free = self.slots.free
        if self.me.draining or free.cpus < LEAST_ROOM.cpus or free.memory_mb < LEAST_ROOM.memory_mb:
            await self.freed.wait()
            return
        try:
            lease = await self._claim(free)
        except LongshoreError as error:
            _log.warning("cannot claim", reason=error.message)
            await asyncio.sleep(CLAIM_AGAIN_AFTER_S)
            return
        if lease is not None:
            self._begin(lease)

    async def _claim(self, free: Room) -> Lease | None:
        """Claim with that room, until there is more of it: a run that needs it all must not be passed over
        for as long as a claim with less may wait."""
        claiming = asyncio.ensure_future(self.link.claim(self.me, free))
        freed = asyncio.ensure_future(self.freed.wait())
        try:
            await asyncio.wait({claiming, freed}, return_when=asyncio.FIRST_COMPLETED)
            if not claiming.done():
                await asyncio.wait({claiming}, timeout=LET_CLAIM_END_S)  # it may be about to succeed
        finally:
            freed.cancel()
            claiming.cancel()
            await asyncio.gather(claiming, freed, return_exceptions=True)
        return None if claiming.cancelled() else claiming.result()

    def _begin(self, lease: Lease) -> None:
        taken = Room(cpus=lease.limits.cpus, memory_mb=lease.limits.memory_mb)
        try:
            self.slots = self.slots.take(taken)
        except ValueError as error:
            _log.error(
                "was given a run that does not fit; its lease will run out", run=lease.run, why=str(error)
            )
            return
        task = asyncio.create_task(self.executor.carry_out(lease))
        self.running.add(task)

        def done(ended: "asyncio.Task[None]") -> None:
            self.running.discard(ended)
            self.slots = self.slots.give_back(taken)
            self.freed.set()

        task.add_done_callback(done)

    def drain(self) -> None:
        """Claim nothing more; what runs goes on."""
        self.me = replace(self.me, draining=True)
        self.freed.set()
