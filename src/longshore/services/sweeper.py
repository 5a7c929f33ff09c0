# SPDX-License-Identifier: Apache-2.0
"""The sweeper: rings again for queued runs, and ends the attempts of interceptors that fell silent."""

import asyncio
from dataclasses import dataclass

import structlog

from longshore.domain.errors import LongshoreError
from longshore.domain.ids import RunId
from longshore.domain.order import Order
from longshore.ports.broker import Broker
from longshore.ports.clock import Clock
from longshore.ports.store import Store
from longshore.services.dispatch import QUEUE_LIVES, Dispatch

EVERY_S = 5.0
MOST_RINGS = 64
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Makes sure that nothing waits for ever."""

    store: Store
    broker: Broker
    dispatch: Dispatch
    clock: Clock

    async def sweep(self) -> None:
        """One round."""
        now = self.clock.now()
        for run in await self.store.read(lambda work: work.runs.overdue(now)):
            await self.dispatch.give_up(
                run, reason=f"the interceptor {run.holder_name or 'that held it'} fell silent"
            )
        for run in await self.store.read(lambda work: work.runs.queued_before(now - QUEUE_LIVES)):
            await self.dispatch.expire(run)
        for location, waiting in await self.store.read(lambda work: work.runs.queued_locations()):
            for _ in range(min(waiting, MOST_RINGS)):
                await self.broker.publish(Order(run=RunId(""), attempt=0, location=location))

    async def run(self) -> None:
        """Sweep until cancelled; a round that fails is logged and the next one comes."""
        while True:
            try:
                await self.sweep()
            except LongshoreError as error:
                _log.warning("sweep failed", reason=error.message)
            await asyncio.sleep(EVERY_S)
