# SPDX-License-Identifier: Apache-2.0
"""The doorbell between a queued run and whoever has room for it.

The run table is the truth; a broker may forget everything and the sweeper will ring again. A ticket is
anonymous: it says that *something* waits at a location, and the claim picks the row that fits best.
"""

from typing import Protocol

from longshore.domain.order import Order


class Broker(Protocol):
    """Rings, and lets people wait for the bell."""

    async def publish(self, order: Order) -> None:
        """Ring for the interceptors of the order's location. Ringing twice is harmless."""
        ...

    async def wait(self, location: str, timeout: float) -> bool:
        """Wait for a ring at a location that nobody else took, at most `timeout` seconds; whether it rang.

        Every ring wakes one waiter. A cancelled wait loses no ring.
        """
        ...
