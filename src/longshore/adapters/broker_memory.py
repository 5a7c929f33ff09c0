# SPDX-License-Identifier: Apache-2.0
"""The doorbell of a server that is one process."""

import asyncio
from dataclasses import dataclass, field

from longshore.domain.order import Order

REMEMBERED_RINGS = 100
"""Claims look at the table before they wait for the bell, so a remembered ring only bridges the moment
between the two. More of them than claimers would only make them look in vain."""


@dataclass(slots=True)
class _Bell:
    """One location: who waits, in order, and how many rings nobody has taken. Never both."""

    waiting: dict["asyncio.Future[None]", None] = field(default_factory=dict)
    rings: int = 0

    def ring(self) -> None:
        """Wake the one who has waited longest, or remember it."""
        if not self.waiting:
            self.rings = min(self.rings + 1, REMEMBERED_RINGS)
            return
        first = next(iter(self.waiting))
        del self.waiting[first]
        first.set_result(None)


class MemoryBroker:
    """Implements ports.broker.Broker within one event loop."""

    def __init__(self) -> None:
        self._bells: dict[str, _Bell] = {}

    async def publish(self, order: Order) -> None:
        """Ring; nobody waits for anybody."""
        self._bells.setdefault(order.location, _Bell()).ring()

    async def wait(self, location: str, timeout: float) -> bool:
        """Who waits longest is woken first."""
        bell = self._bells.setdefault(location, _Bell())
        if bell.rings:
            bell.rings -= 1
            return True
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        bell.waiting[rung] = None
        try:
            await asyncio.wait({rung}, timeout=timeout)
        except asyncio.CancelledError:
            if rung.done():
                bell.ring()
            raise
        finally:
            bell.waiting.pop(rung, None)
        return rung.done()
