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

    async def carry_out(self, lease: Lease, leaves: Callable[[], None]) -> None:
        """Everything between a lease and its end; raises nothing but its own cancellation. It calls `leaves`
        when the run takes nothing of this machine any more: its result may still be on its way."""
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
    _claiming: "asyncio.Task[Lease | None] | None" = None
    _again: asyncio.TimerHandle | None = None

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
        free = self.slots.free
        if self.me.draining or free.cpus < LEAST_ROOM.cpus or free.memory_mb < LEAST_ROOM.memory_mb:
            self.freed.clear()
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
        """Claim with that room, until there is more of it (see `_freed`)."""
        self._claiming = asyncio.create_task(self.link.claim(self.me, free))
        try:
            return await self._claiming
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return None
        finally:
            self._claiming.cancel()
            self._claiming = None
            if self._again is not None:
                self._again.cancel()
                self._again = None

    def _freed(self) -> None:
        """There is more room. A run that needs it all must not be passed over for as long as a claim with
        less may wait: that claim is given a moment, as it may be about to succeed, and then made anew."""
        self.freed.set()
        if self._claiming is not None and self._again is None:
            self._again = asyncio.get_running_loop().call_later(LET_CLAIM_END_S, self._claiming.cancel)

    def _begin(self, lease: Lease) -> None:
        taken = Room(cpus=lease.limits.cpus, memory_mb=lease.limits.memory_mb)
        try:
            self.slots = self.slots.take(taken)
        except ValueError as error:
            _log.error(
                "was given a run that does not fit; its lease will run out", run=lease.run, why=str(error)
            )
            return
        holds = [taken]

        def leaves() -> None:
            if holds:
                self.slots = self.slots.give_back(holds.pop())
                self._freed()

        def done(ended: "asyncio.Task[None]") -> None:
            self.running.discard(ended)
            leaves()

        task = asyncio.create_task(self.executor.carry_out(lease, leaves))
        self.running.add(task)
        task.add_done_callback(done)

    def drain(self) -> None:
        """Claim nothing more; what runs goes on."""
        self.me = replace(self.me, draining=True)
        self._freed()
