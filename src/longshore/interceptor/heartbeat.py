# SPDX-License-Identifier: Apache-2.0
"""Keeps a lease alive while its run is carried out, and brings the news of a cancellation."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from longshore.domain.errors import LongshoreError, Unavailable
from longshore.domain.order import Cancelled, Lease, Phase
from longshore.ports.link import Link

EVERY_S = 1.0
BEAT_WITHIN_S = 5.0
FENCE_SELF_AFTER_S = 25.0
INSIST_S = 60.0
RETRY_S = (0.1, 2.0)
T = TypeVar("T")


async def insist(
    ask: Callable[[], Awaitable[T]], *, within: float = INSIST_S, over: Callable[[], bool] = lambda: False
) -> T:
    """Ask until the control plane is in reach; raises its Unavailable when time is up, or when it is over."""
    since = time.monotonic()
    wait, longest = RETRY_S
    while True:
        try:
            return await ask()
        except Unavailable:
            if over() or time.monotonic() - since > within:
                raise
        await asyncio.sleep(wait)
        wait = min(2 * wait, longest)


@dataclass(slots=True)
class Heartbeat:
    """One run's pulse. `stopped` resolves with the reason when the run must not go on; `lost` says that its
    lease is over too, so that there is nobody to tell how it ended."""

    link: Link
    lease: Lease
    phase: Phase = Phase.PREPARING
    stopped: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    lost: bool = False

    async def started(self) -> bool:
        """Record that user code is about to load; whether it may."""
        self.phase = Phase.USER_CODE
        try:
            await self.insist(self._beat)
        except Unavailable:
            if not self.lost:
                raise
        return not self.stopped.done()

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again while the control plane is out of reach and the lease is ours."""
        return await insist(ask, over=lambda: self.lost)

    async def _beat(self) -> None:
        answer = await self.link.extend(self.lease, self.phase)
        if isinstance(answer, Cancelled):
            self._stop(answer.reason)
        else:
            self.lease = answer

    def _stop(self, reason: str) -> None:
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def _lose(self, reason: str) -> None:
        self.lost = True
        self._stop(reason)

    async def _keep(self) -> None:
        """Beat to the end, also after a cancellation: stopping takes time. Who cannot reach the control plane
        for 25 s stops by itself, before its lease of 30 s ends and somebody else may begin the same run."""
        reached = time.monotonic()
        while not self.lost:
            try:
                async with asyncio.timeout(BEAT_WITHIN_S):
                    await self._beat()
                reached = time.monotonic()
            except (Unavailable, TimeoutError):
                if time.monotonic() - reached > FENCE_SELF_AFTER_S:
                    self._lose("the control plane was out of reach for too long")
            except LongshoreError as error:
                self._lose(error.message)
            await asyncio.sleep(EVERY_S)

    def _broke(self, beating: "asyncio.Task[None]") -> None:
        if not beating.cancelled() and beating.exception() is not None:
            self._lose(f"the heartbeat broke off: {beating.exception()!r}")

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator["Heartbeat"]:
        """Beat while the block runs. A run of less than a second is over before the first beat, and costs a
        timer."""
        beating: list[asyncio.Task[None]] = []

        def begin() -> None:
            beating.append(asyncio.create_task(self._keep()))
            beating[0].add_done_callback(self._broke)

        timer = asyncio.get_running_loop().call_later(EVERY_S, begin)
        try:
            yield self
        finally:
            timer.cancel()
            if beating:
                beating[0].cancel()
                await asyncio.gather(*beating, return_exceptions=True)
            if not self.stopped.done():
                self.stopped.cancel()
