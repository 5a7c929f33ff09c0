# SPDX-License-Identifier: Apache-2.0
"""What every doorbell promises (ports.broker)."""

import asyncio

import pytest

from longshore.adapters.broker_memory import REMEMBERED_RINGS, MemoryBroker
from longshore.domain.ids import RunId
from longshore.domain.order import Order
from longshore.ports.broker import Broker

pytestmark = pytest.mark.anyio
LONG = 30.0


def order(location: str = "here") -> Order:
    return Order(run=RunId("018f0000-0000-7000-8000-000000000001"), attempt=1, location=location)


async def started(*waits: "asyncio.Task[bool]") -> None:
    """Let the waiters get as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waits)


class BrokerContract:
    """Every adapter's test class derives from this one and gives the fixture."""

    @pytest.fixture
    def broker(self) -> Broker:
        raise NotImplementedError

    async def test_a_ring_wakes_who_waits(self, broker: Broker) -> None:
        wait = asyncio.create_task(broker.wait("here", LONG))
        await started(wait)

        await broker.publish(order())

        assert await wait

    async def test_a_ring_that_came_before_is_not_lost(self, broker: Broker) -> None:
        await broker.publish(order())

        assert await broker.wait("here", LONG)
        assert not await broker.wait("here", 0.01)

    async def test_without_a_ring_the_wait_ends_in_time(self, broker: Broker) -> None:
        assert not await broker.wait("here", 0.01)
        assert not await broker.wait("here", 0)

    async def test_every_ring_wakes_one(self, broker: Broker) -> None:
        waits = [asyncio.create_task(broker.wait("here", 1.0)) for _ in range(5)]
        await started(*waits)

        for _ in range(3):
            await broker.publish(order())

        assert sum(await asyncio.gather(*waits)) == 3

    async def test_a_ring_at_another_location_is_for_others(self, broker: Broker) -> None:
        await broker.publish(order("there"))

        assert not await broker.wait("here", 0.01)
        assert await broker.wait("there", LONG)

    async def test_a_cancelled_wait_loses_no_ring(self, broker: Broker) -> None:
        wait = asyncio.create_task(broker.wait("here", LONG))
        await started(wait)

        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
        await broker.publish(order())

        assert await broker.wait("here", LONG)

    async def test_a_wait_that_is_cancelled_as_it_rings_passes_the_ring_on(self, broker: Broker) -> None:
        cancelled = asyncio.create_task(broker.wait("here", LONG))
        other = asyncio.create_task(broker.wait("here", LONG))
        await started(cancelled, other)

        await broker.publish(order())
        cancelled.cancel()
        first, *_ = await asyncio.gather(cancelled, return_exceptions=True)

        assert first is True or await other
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    def broker(self) -> Broker:
        return MemoryBroker()

    async def test_who_waits_longest_is_woken_first(self, broker: Broker) -> None:
        waits = [asyncio.create_task(broker.wait("here", LONG)) for _ in range(3)]
        await started(*waits)

        for wait in waits:
            await broker.publish(order())
            assert await wait

    async def test_rings_are_remembered_up_to_a_bound(self, broker: Broker) -> None:
        for _ in range(10 * REMEMBERED_RINGS):
            await broker.publish(order())

        taken = 0
        while await broker.wait("here", 0):
            taken += 1

        assert taken == REMEMBERED_RINGS
