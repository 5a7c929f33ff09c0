# SPDX-License-Identifier: Apache-2.0
"""A run's moves, a machine's slots, and ids: what holds whatever the order."""

import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.domain.errors import Conflict, IllegalMove
from longshore.domain.fleet import Slots
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, new_id
from longshore.domain.order import Room
from longshore.domain.run import MOVES, Run, RunState, Trigger, TriggerKind
from longshore.domain.task import Limits

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HELD = (RunState.STARTING, RunState.RUNNING)
steps_ = st.lists(st.sampled_from(RunState), max_size=12)


def a_run() -> Run:
    return Run(
        id=RunId(new_id(NOW)),
        project_id=ProjectId("p"),
        task_id=TaskId("t"),
        task_name="echo",
        revision=1,
        package=Digest("0" * 64),
        location="default",
        limits=Limits(),
        trigger=Trigger(kind=TriggerKind.API, by="me"),
        event="{}",
        expand=False,
        fence="f",
        holder=InterceptorId("i"),
        holder_name="machine",
        lease_until=NOW,
        queued_at=NOW,
        claimed_at=NOW,
    )


def lived(steps: list[RunState]) -> list[Run]:
    """A run after each of the steps that its table has; the others are refused."""
    life = [a_run()]
    for number, step in enumerate(steps, start=1):
        try:
            life.append(life[-1].moved(step, NOW + timedelta(seconds=number), reason=f"step {number}"))
        except IllegalMove:
            assert step not in MOVES[life[-1].state]
    return life


def test_every_state_can_be_reached_and_only_ends_have_nothing_after_them() -> None:
    reached = {RunState.QUEUED}
    while more := {to for state in reached for to in MOVES[state]} - reached:
        reached |= more

    assert reached == set(RunState) == set(MOVES)
    assert {state for state in RunState if not state.is_final} == {RunState.QUEUED, *HELD}


def test_a_run_that_nobody_holds_cannot_have_run() -> None:
    ran = {RunState.SUCCEEDED, RunState.TIMED_OUT, RunState.OUT_OF_MEMORY, RunState.LOST, RunState.RUNNING}

    assert not MOVES[RunState.QUEUED] & ran
    assert all(RunState.CANCELLED in MOVES[state] for state in (RunState.QUEUED, *HELD))
    assert all(RunState.EXPIRED not in MOVES[state] for state in HELD)
    assert all(state not in MOVES[state] for state in RunState)


@given(steps_)
def test_a_run_ends_once_and_then_never_moves_again(steps: list[RunState]) -> None:
    life = lived(steps)

    assert sum(run.state.is_final for run in life) <= 1
    assert not any(run.state.is_final for run in life[:-1])
    for to in RunState if life[-1].state.is_final else ():
        with pytest.raises(IllegalMove):
            life[-1].moved(to, NOW)


@given(steps_)
def test_a_run_has_an_end_exactly_when_it_is_over(steps: list[RunState]) -> None:
    for run in lived(steps):
        assert (run.ended_at is not None) == run.state.is_final
        if run.state.is_final:
            assert run.lease_until is None


@given(steps_)
def test_every_way_back_to_the_queue_is_a_new_attempt_and_nothing_else_is(steps: list[RunState]) -> None:
    life = lived(steps)

    for before, after in pairwise(life):
        again = after.state is RunState.QUEUED
        assert after.attempt == before.attempt + again
        if again:
            left = (after.fence, after.holder, after.holder_name, after.lease_until)
            assert left == (None, None, None, None)
            assert (after.claimed_at, after.started_at, after.ended_at) == (None, None, None)
        else:
            assert (after.fence, after.holder) == (before.fence, before.holder)
    assert life[-1].attempt == 1 + sum(run.state is RunState.QUEUED for run in life[1:])


@given(steps_)
def test_a_run_starts_when_it_begins_to_run_and_keeps_that_time(steps: list[RunState]) -> None:
    life = lived(steps)

    for before, after in pairwise(life):
        if after.state is RunState.RUNNING:
            assert after.started_at is not None
            assert after.started_at > NOW
        elif after.state.is_final:
            assert after.started_at == before.started_at


@given(steps_)
def test_a_move_changes_nothing_of_what_was_asked_for(steps: list[RunState]) -> None:
    first, *later = lived(steps)

    for run in later:
        for name in ("id", "task_id", "revision", "package", "event", "limits", "trigger", "queued_at"):
            assert getattr(run, name) == getattr(first, name)


def test_a_refused_move_names_the_run_and_both_states() -> None:
    run = a_run()

    with pytest.raises(Conflict) as refused:
        run.moved(RunState.SUCCEEDED, NOW)

    for word in (run.id, "queued", "succeeded"):
        assert word in refused.value.message


rooms = st.builds(
    Room,
    cpus=st.integers(0, 4000).map(lambda thousandths: thousandths / 1000),
    memory_mb=st.integers(0, 4096),
)


@given(total=rooms, wanted=st.lists(rooms, max_size=12), back=st.lists(st.integers(0, 11), max_size=12))
def test_slots_never_hold_more_than_there_is(total: Room, wanted: list[Room], back: list[int]) -> None:
    slots = Slots(total=total)
    for number, room in enumerate(wanted):
        fits = room.cpus <= slots.free.cpus and room.memory_mb <= slots.free.memory_mb
        if fits:
            slots = slots.take(room)
        else:
            with pytest.raises(ValueError, match="does not fit"):
                slots.take(room)
        if number in back and slots.taken:
            slots = slots.give_back(slots.taken[0])

        assert 0 <= slots.free.cpus <= total.cpus
        assert 0 <= slots.free.memory_mb <= total.memory_mb
        assert sum(one.memory_mb for one in slots.taken) + slots.free.memory_mb == total.memory_mb
        assert sum(one.cpus for one in slots.taken) + slots.free.cpus == pytest.approx(total.cpus)


@given(total=rooms, wanted=st.lists(rooms, max_size=12), data=st.data())
def test_slots_that_were_all_given_back_are_as_free_as_before(
    total: Room, wanted: list[Room], data: st.DataObject
) -> None:
    slots = Slots(total=total)
    for room in wanted:
        if room.cpus <= slots.free.cpus and room.memory_mb <= slots.free.memory_mb:
            slots = slots.take(room)

    for room in data.draw(st.permutations(slots.taken)):
        slots = slots.give_back(room)

    assert slots == Slots(total=total)
    assert slots.free == total


@given(total=rooms, room=rooms)
def test_what_was_not_taken_cannot_be_given_back(total: Room, room: Room) -> None:
    with pytest.raises(ValueError, match="not in list"):
        Slots(total=total).give_back(room)


def test_tenths_of_a_core_add_up() -> None:
    slots = Slots(total=Room(cpus=1.0, memory_mb=1000))

    for _ in range(10):
        slots = slots.take(Room(cpus=0.1, memory_mb=100))

    assert slots.free == Room(cpus=0, memory_mb=0)


times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC))


@given(times)
def test_an_id_is_a_uuid_of_version_7_that_carries_its_time(at: datetime) -> None:
    text = new_id(at)

    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert text == str(parsed)
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert abs((parsed.int >> 80) - milliseconds) <= 1


@given(times, st.timedeltas(min_value=timedelta(milliseconds=2), max_value=timedelta(days=365)))
def test_ids_sort_by_their_birth(at: datetime, later: timedelta) -> None:
    assert new_id(at) < new_id(at + later)


def test_ids_of_one_moment_are_all_different() -> None:
    assert len({new_id(NOW) for _ in range(10_000)}) == 10_000
