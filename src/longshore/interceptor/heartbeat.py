# SPDX-License-Identifier: Apache-2.0
"""Keeps a lease alive while its run is carried out, and brings the news of a cancellation."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from longshore.domain.errors import Conflict, Unavailable
from longshore.domain.order import Cancelled, Lease, Phase
from longshore.ports.link import Link

EVERY_S = 1.0
FENCE_SELF_AFTER_S = 25.0


@dataclass(slots=True)
class Heartbeat:
    """One run's pulse. `stopped` resolves with the reason when the run must not go on."""

    link: Link
    lease: Lease
    phase: Phase = Phase.PREPARING
    stopped: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    lost: bool = False

    async def started(self) -> bool:
        """Record that user code is about to load; whether it may."""
        self.phase = Phase.USER_CODE
        await self._beat()
        return not self.stopped.done()

    async def _beat(self) -> None:
        answer = await self.link.extend(self.lease, self.phase)
        if isinstance(answer, Cancelled):
            self._stop(answer.reason)
        else:
            self.lease = answer

    def _stop(self, reason: str) -> None:
        if not self.stopped.done():
            self.stopped.set_result(reason)

    async def _keep(self) -> None:
        """Beat until told to stop. Who cannot reach the control plane for 25 s stops by itself, before its
        lease of 30 s ends and somebody else may begin the same run."""
        reached = time.monotonic()
        while not self.stopped.done():
            await asyncio.sleep(EVERY_S)
            try:
                await self._beat()
                reached = time.monotonic()
            except Conflict:
                self.lost = True
                self._stop("the lease is over")
            except Unavailable:
                if time.monotonic() - reached > FENCE_SELF_AFTER_S:
                    self.lost = True
                    self._stop("the control plane was out of reach for too long")

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator["Heartbeat"]:
        """Beat while the block runs."""
        beating = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
            if not self.stopped.done():
                self.stopped.cancel()
