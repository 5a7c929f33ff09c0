# SPDX-License-Identifier: Apache-2.0
"""Runs that somebody waits for: one row at the end, a row as they stand when they take longer, none lost."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
from tests.web.house import Hand, House

from longshore.domain.errors import NotFound
from longshore.domain.ids import RunId
from longshore.domain.order import Lease, Phase, Room
from longshore.domain.project import Actor, Project, Role
from longshore.domain.run import Run, RunState, TriggerKind
from longshore.services.express import Ride

pytestmark = pytest.mark.anyio
ME = Actor(name="me", role=Role.EDITOR, project_id=None)
SMALL = Room(cpus=0.5, memory_mb=64)


async def ride(house: House, project: Project, event: object = None) -> Ride:
    """A run that its caller waits for, on its way."""
    asked = {} if event is None else event
    found = await house.runs.ride(project, "echo", asked, trigger=TriggerKind.API, actor=ME)
    assert found is not None
    return found


async def row(house: House, run: RunId) -> Run | None:
    """What the table has, without asking for it to be written."""
    try:
        return await house.store.read(lambda work: work.runs.get(None, run))
    except NotFound:
        return None


async def test_a_short_run_has_no_row_before_its_end(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    one = await ride(house, project, {"a": 1})
    lease = await hand.take()
    await hand.say(lease, ["hello"])
    before = await row(house, lease.run)
    await hand.end(lease, "7")
    ended = await one.answer
    lines = [line.text async for batch in house.runs.log(project, lease.run) for line in batch]

    assert before is None
    assert ended is not None
    assert ended == await row(house, lease.run)
    assert (ended.state, ended.payload, ended.holder_name) == (RunState.SUCCEEDED, "7", "by-hand")
    assert ended.started_at is not None
    assert lines == ["hello"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_longer_one_is_seen_by_all_as_it_stands(
    house: House, project: Project, task: str, hand: Hand, begun: bool
) -> None:
    one = await ride(house, project)
    lease = await hand.take() if begun else None
    if lease is not None:
        await hand.say(lease, ["early"])

    assert await one.answer is None  # it has a row now
    listed = await row(house, one.run.id)
    assert listed is not None
    assert listed.state is (RunState.RUNNING if begun else RunState.QUEUED)

    lease = lease or await hand.take()
    await hand.say(lease, ["late"])
    await hand.end(lease)
    ended = await house.runs.wait(project, lease.run, 10)
    lines = [line.text async for batch in house.runs.log(project, lease.run) for line in batch]
    assert ended.state is RunState.SUCCEEDED
    assert lines == (["early", "late"] if begun else ["late"])


async def test_who_asks_for_one_by_its_id_finds_it_at_once(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    one = await ride(house, project)
    lease = await hand.take()

    seen = await house.runs.get(project, one.run.id)
    cancelled = await house.runs.cancel(project, one.run.id, actor=ME)
    news = await house.dispatch.extend(lease, Phase.USER_CODE)

    assert (seen.state, seen.holder_name) == (RunState.RUNNING, "by-hand")
    assert cancelled.cancel_requested
    assert not isinstance(news, Lease)


async def test_a_log_that_grows_long_is_written_with_its_run(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    one = await ride(house, project)
    lease = await hand.take()
    texts = [f"{number} " + "x" * 1000 for number in range(12)]
    for text in texts:
        await hand.say(lease, [text])
    await hand.end(lease)
    await house.runs.wait(project, one.run.id, 10)

    lines = [line.text async for batch in house.runs.log(project, lease.run) for line in batch]
    assert lines == texts


async def test_a_claim_that_waits_is_given_the_run_itself(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    claiming = asyncio.create_task(hand.take())
    while not house.dispatch.express._place("default").parked:
        await asyncio.sleep(0)
    one = await ride(house, project)
    lease = await claiming

    assert (lease.run, one.lease) == (one.run.id, lease)


async def test_a_claim_that_goes_as_it_is_given_a_run_gives_it_back(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    claiming = asyncio.create_task(hand.take())
    while not house.dispatch.express._place("default").parked:
        await asyncio.sleep(0)
    one = await ride(house, project)
    claiming.cancel()
    await asyncio.gather(claiming, return_exceptions=True)

    lease = await hand.take()
    assert (lease.run, lease.attempt) == (one.run.id, 1)


async def test_a_run_that_does_not_fit_waits_and_lets_others_pass(
    house: House, project: Project, api: httpx.AsyncClient, task: str, hand: Hand
) -> None:
    large = await ride(house, project)
    await api.patch("/tasks/echo", json={"limits": {"cpus": 0.5, "memory_mb": 64}})
    small = await ride(house, project)

    lease = await house.dispatch.claim(hand.me, SMALL)

    assert lease is not None
    assert lease.run == small.run.id != large.run.id


async def test_rows_and_rides_take_turns(house: House, project: Project, task: str, hand: Hand) -> None:
    rows = [await house.runs.submit(project, "echo", {}, trigger=TriggerKind.API, actor=ME) for _ in range(3)]
    rides = [await ride(house, project) for _ in range(3)]

    taken = [(await hand.take()).run for _ in range(6)]

    assert set(taken) == {run.id for run in rows} | {one.run.id for one in rides}
    assert taken[:3] != [one.run.id for one in rides]
    assert taken[:3] != [run.id for run in rows]


async def test_a_late_twin_is_refused(house: House, project: Project, task: str, hand: Hand) -> None:
    one = await ride(house, project)
    lease = await hand.take()
    await hand.end(lease, "1")
    await hand.end(lease, "2")  # said again: harmless, and the first word stays

    ended = await one.answer
    assert ended is not None
    assert ended.payload == "1"
    kept = await row(house, lease.run)
    assert kept is not None
    assert kept.payload == "1"


async def test_what_needs_a_closer_look_goes_the_long_way(
    house: House, project: Project, api: httpx.AsyncClient, task: str
) -> None:
    async def is_express(event: object) -> bool:
        found = await house.runs.ride(project, "echo", event, trigger=TriggerKind.API, actor=ME)
        return found is not None

    assert await is_express({"a": "no reference"})
    assert not await is_express({"a": "secret.TOKEN"})
    assert not await is_express({"a": ["deep {{secret.TOKEN}} inside"]})
    await api.patch("/tasks/echo", json={"parameters": [{"name": "f", "type": "artifact"}]})
    assert not await is_express({})
    await api.patch("/tasks/echo", json={"parameters": [{"name": "s", "default": "secret.NOPE"}]})
    assert not await is_express({})
    await api.put("/secrets/NOPE", json={"value": "now it is there"})
    assert await is_express({})


async def test_a_change_of_the_task_counts_for_the_next_run(
    house: House, project: Project, api: httpx.AsyncClient, task: str
) -> None:
    first = await ride(house, project)
    await api.patch("/tasks/echo", json={"limits": {"memory_mb": 333}})
    second = await ride(house, project)
    await api.delete("/tasks/echo")

    assert second.run.revision == first.run.revision + 1
    assert second.run.limits.memory_mb == 333
    with pytest.raises(NotFound):
        await ride(house, project)


async def test_a_token_that_is_revoked_is_refused_at_once(
    house: House, project: Project, api: httpx.AsyncClient, stranger: httpx.AsyncClient, task: str
) -> None:
    token, value = await house.access.create_token("t", Role.RUNNER, project, by=None)
    headers = {"Authorization": f"Bearer {value}"}

    async def asked() -> int:
        return (await stranger.post("/api/v1/projects/default/tasks/echo/runs", headers=headers)).status_code

    assert await asked() == 202
    await house.access.revoke(project, token.id)
    assert await asked() == 401


async def test_when_it_cannot_be_recorded_its_caller_is_told(
    house: House, project: Project, task: str, hand: Hand
) -> None:
    one = await ride(house, project)
    lease = await hand.take()
    await house.store.close()

    ending: Coroutine[Any, Any, None] = hand.end(lease)
    with pytest.raises(Exception, match="closed"):
        await ending
    with pytest.raises(Exception, match="closed"):
        await one.answer
