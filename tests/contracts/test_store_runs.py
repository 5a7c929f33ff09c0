# SPDX-License-Identifier: Apache-2.0
"""What every store promises of its run table."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from tests.contracts.storing import ME, NOW, OTHER, PROJECT, a_digest, a_run, adding, claim, claiming

from longshore.domain.errors import Conflict, NotFound
from longshore.domain.ids import InterceptorId, RunId, TaskId
from longshore.domain.order import Room
from longshore.domain.run import Run, RunError, RunFile, RunState, Step, Usage
from longshore.domain.task import Limits
from longshore.ports.store import Page, RunFilter, Store, Work

pytestmark = pytest.mark.anyio


async def test_a_run_comes_back_with_everything_it_learned(store: Store) -> None:
    run = a_run(notices=("spaces were removed",), defaulted=("a",), inputs={"data/x": a_digest(9)})
    await store.write(adding(run))
    claimed = await store.write(claim)
    assert claimed is not None
    running = claimed.moved(RunState.RUNNING, NOW)
    file = RunFile(bucket="runs", key=f"{run.id}/a", name="a", size=1, digest=a_digest(7))
    await store.write(lambda work: work.runs.save(running, expecting=RunState.STARTING, attempt=1, fence="f"))
    await store.write(lambda work: work.runs.add_file(run.id, file))
    ended = dataclasses.replace(
        running.moved(RunState.FAILED, NOW, reason="why"),
        payload='{"a": NaN}',
        error=RunError(type="T", message="m", trace=("x", "y")),
        usage=Usage(init_ms=1.5, wall_ms=2, cpu_ms=3, peak_memory_mb=4),
        cold=True,
        steps=(Step(name="boot", ms=1.25),),
        files=(file,),
    )
    await store.write(lambda work: work.runs.save(ended, expecting=RunState.RUNNING, attempt=1, fence="f"))

    assert await store.read(lambda work: work.runs.get(PROJECT.id, run.id)) == ended
    with pytest.raises(NotFound):
        await store.read(lambda work: work.runs.get(OTHER.id, run.id))


async def test_a_claim_takes_the_oldest_run_that_fits_and_each_run_once(store: Store) -> None:
    big = a_run(0, limits=Limits(cpus=64))
    small = [a_run(number) for number in (1, 2)]
    elsewhere = a_run(3, location="lab")
    await store.write(adding(big, *small, elsewhere))

    taken = [await store.write(claim) for _ in range(3)]

    assert [run.id if run else None for run in taken] == [small[0].id, small[1].id, None]
    assert taken[0] is not None
    assert (taken[0].state, taken[0].fence, taken[0].holder) == (RunState.STARTING, "f", ME)
    assert (taken[0].claimed_at, taken[0].lease_until) == (NOW, NOW + timedelta(seconds=30))
    lab = await store.write(lambda work: claim(work, location="lab"))
    assert lab is not None
    assert lab.id == elsewhere.id
    assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 1)]


async def test_a_late_twin_is_refused_and_a_cancellation_reaches_the_holder(store: Store) -> None:
    run = a_run()
    await store.write(adding(run))
    held = await store.write(claim)
    assert held is not None
    until = NOW + timedelta(minutes=1)

    assert await store.write(lambda work: work.runs.extend(run.id, attempt=1, fence="f", until=until))
    with pytest.raises(Conflict):
        await store.write(lambda work: work.runs.extend(run.id, attempt=1, fence="other", until=until))
    await store.write(lambda work: work.runs.ask_to_cancel(run.id, "cancelled by me"))
    assert not await store.write(lambda work: work.runs.extend(run.id, attempt=1, fence="f", until=until))
    again = held.moved(RunState.QUEUED, NOW, reason="lost")
    await store.write(lambda work: work.runs.save(again, expecting=RunState.STARTING, attempt=1, fence="f"))
    with pytest.raises(Conflict):
        await store.write(
            lambda work: work.runs.save(again, expecting=RunState.STARTING, attempt=1, fence="f")
        )
    second = await store.write(lambda work: claim(work, "g"))
    assert second is not None
    assert (second.attempt, second.fence) == (2, "g")


def paging(page: Page, wanted: RunFilter) -> Callable[[Work], Sequence[Run]]:
    return lambda work: work.runs.page(PROJECT.id, page, wanted)


async def test_runs_are_paged_newest_first_and_filtered(store: Store) -> None:
    runs = [a_run(number, task_id=TaskId(f"t{number % 2}")) for number in range(6)]
    await store.write(adding(*runs))
    await store.write(claim)

    async def listed(page: Page, wanted: RunFilter) -> list[int]:
        order = [run.id for run in runs]
        return [order.index(run.id) for run in await store.read(paging(page, wanted))]

    assert await listed(Page(limit=3), RunFilter()) == [5, 4, 3]
    assert await listed(Page(limit=3, after=runs[3].id), RunFilter()) == [2, 1, 0]
    assert await listed(Page(), RunFilter(task_id=TaskId("t1"))) == [5, 3, 1]
    assert await listed(Page(), RunFilter(states=(RunState.STARTING,))) == [0]
    latest = await store.read(lambda work: work.runs.latest(PROJECT.id, [TaskId("t0"), TaskId("t1")]))
    assert {run.id for run in latest} == {runs[4].id, runs[5].id}
    counts = await store.read(lambda work: work.runs.counts(PROJECT.id))
    assert counts == {RunState.QUEUED: 5, RunState.STARTING: 1}


async def test_leases_that_ended_and_holders_that_are_gone_are_found(store: Store) -> None:
    await store.write(adding(a_run()))
    held = await store.write(claim)
    assert held is not None

    async def overdue(seconds: int) -> int:
        at = NOW + timedelta(seconds=seconds)
        return len(await store.read(lambda work: work.runs.overdue(at)))

    async def orphans(*alive: InterceptorId) -> int:
        return len(await store.read(lambda work: work.runs.held_by_others(alive)))

    assert (await overdue(29), await overdue(31)) == (0, 1)
    assert (await orphans(), await orphans(ME), await orphans(InterceptorId("x"))) == (1, 0, 1)


@pytest.mark.parametrize("fence", ["other", None, ""])
async def test_an_attempt_of_the_same_number_under_another_fence_is_refused(
    store: Store, fence: str | None
) -> None:
    """So it is when the database was restored from a backup and the attempt was given out again."""
    await store.write(adding(a_run()))
    held = await store.write(claiming("f"))
    assert held is not None
    ended = held.moved(RunState.FAILED, NOW, reason="why")

    with pytest.raises(Conflict):
        await store.write(
            lambda work: work.runs.save(ended, expecting=RunState.STARTING, attempt=1, fence=fence)
        )

    assert await store.read(lambda work: work.runs.get(None, held.id)) == held


async def test_a_cancellation_survives_whoever_read_the_run_before_it(store: Store) -> None:
    await store.write(adding(a_run()))
    held = await store.write(claim)
    assert held is not None
    await store.write(lambda work: work.runs.ask_to_cancel(held.id, "cancelled by me"))

    again = held.moved(RunState.QUEUED, NOW, reason="its interceptor fell silent")
    await store.write(lambda work: work.runs.save(again, expecting=RunState.STARTING, attempt=1, fence="f"))

    assert (await store.read(lambda work: work.runs.get(None, held.id))).cancel_requested
    await store.write(lambda work: claim(work, "g"))
    assert not await store.write(lambda work: work.runs.extend(held.id, attempt=2, fence="g", until=NOW))


async def test_a_queued_run_is_not_asked_to_cancel_and_a_finished_one_not_extended(store: Store) -> None:
    await store.write(adding(a_run()))
    queued = (await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter())))[0]
    await store.write(lambda work: work.runs.ask_to_cancel(queued.id, "cancelled by me"))
    held = await store.write(claim)
    assert held is not None
    assert not held.cancel_requested
    ended = held.moved(RunState.FAILED, NOW, reason="why")
    await store.write(lambda work: work.runs.save(ended, expecting=RunState.STARTING, attempt=1, fence="f"))

    with pytest.raises(Conflict):
        await store.write(lambda work: work.runs.extend(held.id, attempt=1, fence="f", until=NOW))
    with pytest.raises(NotFound):
        await store.read(lambda work: work.runs.get(None, RunId("nothing")))


async def test_a_run_ends_whatever_its_handler_said(store: Store) -> None:
    await store.write(adding(a_run()))
    held = await store.write(claim)
    assert held is not None
    ended = dataclasses.replace(
        held.moved(RunState.FAILED, NOW, reason="a\ud800b"),
        payload='"\udfff"',
        error=RunError(type="T\ud800", message="m\x00\ud800ä", trace=("\ud800",)),
        notices=("\ud800 was said",),
    )

    await store.write(lambda work: work.runs.save(ended, expecting=RunState.STARTING, attempt=1, fence="f"))

    kept = await store.read(lambda work: work.runs.get(None, held.id))
    assert (kept.reason, kept.payload, kept.notices) == ("a\ufffdb", '"\ufffd"', ("\ufffd was said",))
    assert kept.error == RunError(type="T\ufffd", message="m\x00\ufffdä", trace=("\ufffd",))


async def test_a_large_event_and_payload_are_kept_inline(store: Store) -> None:
    large = '"' + "ä" * 128 * 1024 + '"'
    run = a_run(event=large, payload=large, state=RunState.SUCCEEDED)
    await store.write(adding(run))

    assert await store.read(lambda work: work.runs.get(None, run.id)) == run


@pytest.mark.parametrize(
    ("room", "fits"),
    [
        (Room(cpus=0.3, memory_mb=64), True),
        (Room(cpus=0.299, memory_mb=64), False),
        (Room(cpus=0.3, memory_mb=63), False),
        (Room(cpus=0, memory_mb=0), False),
    ],
)
async def test_a_run_is_claimed_only_into_room_for_it(store: Store, room: Room, fits: bool) -> None:
    await store.write(adding(a_run(limits=Limits(cpus=0.3, memory_mb=64))))

    assert (await store.write(lambda work: claim(work, room=room)) is not None) == fits


async def test_many_claims_at_once_take_every_run_once(store: Store) -> None:
    runs = [a_run(number) for number in range(60)]
    await store.write(adding(*runs))

    taken = await asyncio.gather(*(store.write(claiming(f"f{n}")) for n in range(80)))

    assert sorted(run.id for run in taken if run) == [run.id for run in runs]
    assert taken.count(None) == 20


def adding_file(run: Run, file: RunFile) -> Callable[[Work], None]:
    return lambda work: work.runs.add_file(run.id, file)


async def test_a_file_of_a_run_replaces_the_one_of_its_name(store: Store) -> None:
    run = a_run()
    file = RunFile(bucket="runs", key=f"{run.id}/a", name="a", size=1, digest=a_digest(7))
    larger, other = dataclasses.replace(file, size=2), dataclasses.replace(file, key="k", name="b")
    await store.write(adding(run))

    for one in (file, other, larger):
        await store.write(adding_file(run, one))

    assert (await store.read(lambda work: work.runs.get(None, run.id))).files == (other, larger)
    with pytest.raises(NotFound):
        await store.write(lambda work: work.runs.add_file(RunId("nothing"), file))


async def test_runs_of_several_states_are_one_list_in_pages(store: Store) -> None:
    states = [RunState.SUCCEEDED, RunState.LOST, RunState.SUCCEEDED, RunState.FAILED, RunState.QUEUED]
    runs = [a_run(number, state=states[number % 5], task_id=TaskId(f"t{number % 2}")) for number in range(20)]
    elsewhere = a_run(99, project_id=OTHER.id, state=RunState.LOST)
    await store.write(adding(*runs, elsewhere))

    async def listed(wanted: RunFilter) -> list[RunId]:
        found: list[RunId] = []
        while part := await store.read(paging(Page(limit=3, after=found[-1] if found else None), wanted)):
            found += [run.id for run in part]
        return found

    wanted = (RunState.LOST, RunState.SUCCEEDED, RunState.LOST)
    assert await listed(RunFilter(states=wanted)) == [r.id for r in runs[::-1] if r.state in wanted]
    assert await listed(RunFilter(states=wanted, task_id=TaskId("t1"))) == [
        run.id for run in runs[::-1] if run.state in wanted and run.task_id == "t1"
    ]
    assert await listed(RunFilter(states=tuple(RunState))) == [run.id for run in runs[::-1]]
    assert await listed(RunFilter(states=(RunState.EXPIRED,))) == []


async def test_runs_that_wait_too_long_are_found_the_oldest_first(store: Store) -> None:
    waiting = [a_run(number) for number in (1, 2)]
    await store.write(adding(*waiting))

    async def found(at: datetime) -> list[RunId]:
        return [run.id for run in await store.read(lambda work: work.runs.queued_before(at))]

    assert await found(waiting[1].queued_at) == [waiting[0].id]
    assert await found(NOW + timedelta(hours=1)) == [run.id for run in waiting]
