# SPDX-License-Identifier: Apache-2.0
"""The agent: claims what fits, gives room back, outlives a control plane that is away, stops what runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from tests.unit.memory_link import NOW, MemoryLink, an_invocation

from longshore.domain.fleet import Interceptor, Slots
from longshore.domain.ids import InterceptorId, RunId
from longshore.domain.order import Lease, Room
from longshore.domain.task import Limits
from longshore.interceptor import agent as agent_module
from longshore.interceptor.agent import Agent

pytestmark = pytest.mark.anyio


@dataclass
class Hands:
    """Carries out leases by holding them until told to let go."""

    holding: dict[RunId, asyncio.Event] = field(default_factory=dict)
    stopped: list[RunId] = field(default_factory=list)
    done: list[RunId] = field(default_factory=list)

    async def carry_out(self, lease: Lease, leaves: Callable[[], None]) -> None:
        self.holding[lease.run] = asyncio.Event()
        try:
            await self.holding[lease.run].wait()
            self.done.append(lease.run)
        except asyncio.CancelledError:
            self.stopped.append(lease.run)
            raise
        finally:
            del self.holding[lease.run]


@dataclass
class House:
    """An agent at work on a machine of two cores and 1000 MB."""

    link: MemoryLink = field(default_factory=MemoryLink)
    hands: Hands = field(default_factory=Hands)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        me = Interceptor(
            id=InterceptorId("me"),
            name="machine",
            location="default",
            cpu_cores=2,
            memory_mb=1000,
            runtimes=("python3.11",),
            isolation="none",
            version="0",
            seen_at=NOW,
        )
        self.agent = Agent(me, self.link, self.hands, Slots(total=Room(cpus=2, memory_mb=1000)))

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator["House"]:
        working = asyncio.create_task(self.agent.run(self.is_ready.set))
        try:
            yield self
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def submit(self, run: str, *, cpus: float = 1, memory_mb: int = 100) -> None:
        await self.link.submit(an_invocation(run, limits=Limits(cpus=cpus, memory_mb=memory_mb)))


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.005)


async def test_it_registers_before_it_claims() -> None:
    async with House().at_work() as house:
        await asyncio.wait_for(house.is_ready.wait(), 5)

        assert [me.name for me in house.link.seen] == ["machine"]


async def test_it_claims_what_fits_and_no_more() -> None:
    async with House().at_work() as house:
        await house.submit("a")
        await house.submit("b", memory_mb=800)
        await house.submit("c")
        await until(lambda: len(house.hands.holding) == 2)
        await asyncio.sleep(0.1)

        assert set(house.hands.holding) == {"a", "b"}
        assert [one.run for one in house.link.queued] == ["c"]
        assert house.agent.slots.free == Room(cpus=0, memory_mb=100)


async def test_room_that_is_free_again_is_used_again() -> None:
    async with House().at_work() as house:
        for run in ("a", "b", "c"):
            await house.submit(run)
        await until(lambda: len(house.hands.holding) == 2)

        house.hands.holding[RunId("a")].set()
        await until(lambda: "c" in house.hands.holding)

        assert house.hands.done == ["a"]


async def test_a_run_that_needs_the_whole_machine_gets_it_as_soon_as_it_is_free() -> None:
    house = House(MemoryLink(claim_waits_s=600))
    async with house.at_work():
        await house.submit("small")
        await until(lambda: bool(house.hands.holding))
        await house.submit("large", cpus=2)
        await asyncio.sleep(0.1)
        assert "large" not in house.hands.holding

        house.hands.holding[RunId("small")].set()
        await until(lambda: "large" in house.hands.holding)

    assert len(house.link.held) == 2


async def test_no_run_is_lost_when_room_is_freed_all_the_time() -> None:
    async with House(MemoryLink(claim_waits_s=600)).at_work() as house:
        runs = [f"run-{number:03}" for number in range(200)]
        for run in runs:
            await house.submit(run, cpus=0.5)
        while len(house.hands.done) < len(runs):
            for let_go in list(house.hands.holding.values()):
                let_go.set()
            await asyncio.sleep(0)

        assert sorted(house.hands.done) == runs
        await until(lambda: house.agent.slots.free == Room(cpus=2, memory_mb=1000))


async def test_it_outlives_a_control_plane_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "CLAIM_AGAIN_AFTER_S", 0.02)
    async with House(MemoryLink(down=True, claim_waits_s=0.02)).at_work() as house:
        await asyncio.sleep(0.1)
        assert not house.is_ready.is_set()
        house.link.down = False
        await asyncio.wait_for(house.is_ready.wait(), 5)
        house.link.down = True
        await asyncio.sleep(0.1)
        house.link.down = False
        await house.submit("a")

        await until(lambda: "a" in house.hands.holding)


async def test_what_runs_is_stopped_with_it() -> None:
    async with House().at_work() as house:
        await house.submit("a")
        await until(lambda: bool(house.hands.holding))

    assert house.hands.stopped == ["a"]
    assert house.agent.running == set()


async def test_draining_it_claims_nothing_more_and_lets_what_runs_end() -> None:
    async with House(MemoryLink(claim_waits_s=600)).at_work() as house:
        await house.submit("a")
        await until(lambda: bool(house.hands.holding))

        house.agent.drain()
        await asyncio.sleep(0.1)
        await house.submit("b")
        await asyncio.sleep(0.1)

        assert set(house.hands.holding) == {"a"}
        house.hands.holding[RunId("a")].set()
        await until(lambda: house.hands.done == ["a"])
        assert [one.run for one in house.link.queued] == ["b"]


async def test_it_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "SIGN_OF_LIFE_EVERY_S", 0.02)
    async with House().at_work() as house:
        await until(lambda: len(house.link.seen) > 3)
        house.link.down = True
        await asyncio.sleep(0.1)
        house.link.down = False
        seen = len(house.link.seen)

        await until(lambda: len(house.link.seen) > seen)


async def test_a_run_that_does_not_fit_is_not_begun() -> None:
    house = House()
    lease = house.link.lease_out(an_invocation("huge", limits=Limits(cpus=64)))

    house.agent._begin(lease)

    assert house.agent.running == set()
    assert house.agent.slots.free == Room(cpus=2, memory_mb=1000)
