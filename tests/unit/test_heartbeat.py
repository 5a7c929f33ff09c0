# SPDX-License-Identifier: Apache-2.0
"""A run's pulse: news of a cancellation, a lost lease, a control plane out of reach."""

import asyncio

import pytest
from tests.unit.memory_link import MemoryLink, an_invocation

from longshore.domain.errors import Conflict, Unavailable
from longshore.domain.order import Phase
from longshore.interceptor import heartbeat
from longshore.interceptor.heartbeat import Heartbeat, insist

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.01)
    monkeypatch.setattr(heartbeat, "RETRY_S", (0.005, 0.01))


async def test_the_lease_is_extended_while_the_block_runs_and_not_after() -> None:
    link = MemoryLink()
    lease = link.lease_out(an_invocation("run"))

    async with Heartbeat(link, lease).kept() as heart:
        while heart.lease is lease:
            await asyncio.sleep(0.005)
    link.phases.clear()
    await asyncio.sleep(0.05)

    assert link.phases == {}
    assert heart.stopped.cancelled()
    assert not heart.lost


async def test_user_code_is_on_record_before_it_may_start() -> None:
    link = MemoryLink()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        assert await heart.started()

        assert list(link.phases.values()) == [Phase.USER_CODE]


async def test_a_cancellation_arrives_and_the_lease_is_kept_while_things_are_tidied_up() -> None:
    link = MemoryLink()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        link.cancelled.update(link.held)

        assert await asyncio.wait_for(asyncio.shield(heart.stopped), 5) == "cancelled by somebody"
        assert not await heart.started()
        link.held.clear()
        async with asyncio.timeout(5):
            while not heart.lost:
                await asyncio.sleep(0.005)


async def test_a_lease_that_is_over_stops_the_run() -> None:
    link = MemoryLink()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        link.lose("run")

        assert "over" in await asyncio.wait_for(asyncio.shield(heart.stopped), 5)
        assert heart.lost


async def test_a_short_outage_is_bridged() -> None:
    link = MemoryLink()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        link.down = True
        starting = asyncio.create_task(heart.started())
        await asyncio.sleep(0.1)
        assert not starting.done()
        link.down = False

        assert await asyncio.wait_for(starting, 5)


async def test_who_is_cut_off_for_too_long_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "FENCE_SELF_AFTER_S", 0.1)
    link = MemoryLink(down=True)
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        assert not await asyncio.wait_for(heart.started(), 5)
        assert heart.lost


async def test_a_control_plane_that_does_not_answer_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "FENCE_SELF_AFTER_S", 0.1)
    monkeypatch.setattr(heartbeat, "BEAT_WITHIN_S", 0.02)

    class Silent(MemoryLink):
        async def extend(self, lease, phase):  # type: ignore[no-untyped-def]
            await asyncio.sleep(600)

    link = Silent()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        assert "out of reach" in await asyncio.wait_for(asyncio.shield(heart.stopped), 5)


async def test_a_bug_in_the_heartbeat_stops_the_run_instead_of_letting_its_lease_run_out() -> None:
    class Broken(MemoryLink):
        async def extend(self, lease, phase):  # type: ignore[no-untyped-def]
            raise RuntimeError("a bug")

    link = Broken()
    async with Heartbeat(link, link.lease_out(an_invocation("run"))).kept() as heart:
        assert "a bug" in await asyncio.wait_for(asyncio.shield(heart.stopped), 5)
        assert heart.lost


async def test_insisting_ends_when_time_is_up_or_it_is_over_and_at_once_for_other_errors() -> None:
    async def never() -> None:
        raise Unavailable("no")

    async def refused() -> None:
        raise Conflict("over")

    with pytest.raises(Unavailable):
        await asyncio.wait_for(insist(never, within=0.05), 5)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(insist(never, over=lambda: True), 5)
    with pytest.raises(Conflict):
        await insist(refused)
