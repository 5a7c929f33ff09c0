# SPDX-License-Identifier: Apache-2.0
"""Any life of any runs: the table of every store agrees with a model that is a dictionary.

Interceptors claim, extend, start, finish and fall silent; people submit and cancel; late twins come back with
leases that are over. Whatever the order: a run ends once, an end never changes, a fence that is over moves
nothing, and every attempt was begun by a claim.
"""

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule
from tests.contracts.storing import ME, NOW, PROJECT, STORES, a_run, with_projects

from longshore.domain.errors import Conflict, IllegalMove
from longshore.domain.ids import InterceptorId, RunId
from longshore.domain.order import Room
from longshore.domain.run import MOVES, Run, RunState
from longshore.domain.task import Limits
from longshore.ports.store import Page, RunFilter, Store, Work

T = TypeVar("T")
LOCATIONS = st.sampled_from(["default", "lab"])
HOLDERS = st.sampled_from([ME, InterceptorId("you")])
CPUS = st.sampled_from([0.5, 1.0, 4.0])
HELD = (RunState.STARTING, RunState.RUNNING)


class RunTable(RuleBasedStateMachine):
    """The rules are what interceptors and people do; `runs` is what the table must hold."""

    opened: ClassVar[Callable[[Path], Store]]
    held = Bundle("held")
    """Leases as their holders remember them, also those that are long over."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = tempfile.TemporaryDirectory()
        self.runs: dict[RunId, Run] = {}
        self.ended: dict[RunId, Run] = {}
        self.now = NOW
        self.number = 0
        self.store = self.runner.run(self._open())
        self._write(with_projects)

    async def _open(self) -> Store:
        return type(self).opened(Path(self.place.name))

    def _write(self, change: Callable[[Work], T]) -> T:
        return self.runner.run(self.store.write(change))

    def _read(self, question: Callable[[Work], T]) -> T:
        return self.runner.run(self.store.read(question))

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        self.place.cleanup()

    def _tick(self) -> datetime:
        self.number += 1
        self.now += timedelta(seconds=1)
        return self.now

    def _is_live(self, lease: Run) -> bool:
        run = self.runs[lease.id]
        return run.state in HELD and (run.attempt, run.fence) == (lease.attempt, lease.fence)

    @rule(location=LOCATIONS, cpus=CPUS)
    def submit(self, location: str, cpus: float) -> None:
        at = self._tick()
        run = dataclasses.replace(a_run(), location=location, limits=Limits(cpus=cpus), queued_at=at)
        run = dataclasses.replace(run, id=RunId(f"{self.number:06d}"))
        self._write(lambda work: work.runs.add(run))
        self.runs[run.id] = run

    @rule(target=held, location=LOCATIONS, cpus=CPUS, holder=HOLDERS)
    def claim(self, location: str, cpus: float, holder: InterceptorId) -> object:
        at, fence = self._tick(), f"fence {self.number}"
        room = Room(cpus=cpus, memory_mb=1024)
        taken = self._write(
            lambda work: work.runs.claim(
                location,
                room,
                holder=holder,
                holder_name="machine",
                fence=fence,
                at=at,
                until=at + timedelta(seconds=5),
            )
        )

        fit = [
            run
            for run in self.runs.values()
            if run.state is RunState.QUEUED and run.location == location and run.limits.cpus <= cpus
        ]
        if not fit:
            assert taken is None
            return multiple()
        oldest = min(fit, key=lambda run: run.id)
        assert taken == dataclasses.replace(
            oldest,
            state=RunState.STARTING,
            holder=holder,
            holder_name="machine",
            fence=fence,
            claimed_at=at,
            lease_until=at + timedelta(seconds=5),
        )
        self.runs[taken.id] = taken
        return taken

    @rule(lease=held)
    def extend(self, lease: Run) -> None:
        until = self._tick() + timedelta(seconds=5)
        live, run = self._is_live(lease), self.runs[lease.id]
        try:
            goes_on = self._write(
                lambda work: work.runs.extend(
                    lease.id, attempt=lease.attempt, fence=lease.fence or "", until=until
                )
            )
        except Conflict:
            assert not live
            return
        assert live
        assert goes_on is not run.cancel_requested
        self.runs[run.id] = dataclasses.replace(run, lease_until=until)

    @rule(lease=held, to=st.sampled_from(RunState))
    def save(self, lease: Run, to: RunState) -> None:
        """A holder, live or late, or a sweeper that read the run a while ago, moves it."""
        at = self._tick()
        live, now = self._is_live(lease), self.runs[lease.id]
        known = dataclasses.replace(lease, state=now.state) if now.state in HELD else lease
        try:
            moved = known.moved(to, at, reason=f"at {self.number}")
        except IllegalMove:
            assert to not in MOVES[known.state]
            return
        try:
            self._write(
                lambda work: work.runs.save(
                    moved, expecting=known.state, attempt=lease.attempt, fence=lease.fence
                )
            )
        except Conflict:
            assert not live
            return
        assert live
        self.runs[now.id] = dataclasses.replace(moved, cancel_requested=now.cancel_requested)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.runs:
            return
        run = self.runs[data.draw(st.sampled_from(sorted(self.runs)))]
        if run.state is RunState.QUEUED:
            ended = run.moved(RunState.CANCELLED, self._tick(), reason="cancelled")
            self._write(
                lambda work: work.runs.save(ended, expecting=run.state, attempt=run.attempt, fence=run.fence)
            )
            self.runs[run.id] = ended
            return
        self._write(lambda work: work.runs.ask_to_cancel(run.id, "cancelled by me"))
        if run.state in HELD:
            self.runs[run.id] = dataclasses.replace(run, cancel_requested=True, reason="cancelled by me")

    @precondition(lambda self: self.number % 10 == 9)
    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(self._open())

    @invariant()
    def the_table_is_the_model(self) -> None:
        everything = Page(limit=1000)
        found = self._read(lambda work: work.runs.page(PROJECT.id, everything, RunFilter()))
        assert found == sorted(self.runs.values(), key=lambda run: run.id, reverse=True)
        for run in found:
            assert run.state.is_final == (run.ended_at is not None)
            if run.state.is_final:
                assert self.ended.setdefault(run.id, run) == run

    @invariant()
    def every_list_is_a_part_of_it(self) -> None:
        runs = self.runs.values()

        def ids(state: RunState) -> list[RunId]:
            return sorted((run.id for run in runs if run.state is state), reverse=True)

        def question(work: Work) -> None:
            for state in RunState:
                found = work.runs.page(PROJECT.id, Page(limit=1000), RunFilter(states=(state,)))
                assert [run.id for run in found] == ids(state)
            open_ = [state for state in RunState if not state.is_final and ids(state)]
            assert work.runs.counts(PROJECT.id) == {state: len(ids(state)) for state in open_}
            queued = [run.location for run in runs if run.state is RunState.QUEUED]
            assert work.runs.queued_locations() == [
                (name, queued.count(name)) for name in sorted(set(queued))
            ]
            held = [run for run in runs if run.state in HELD]
            late = {run.id for run in held if run.lease_until and run.lease_until < self.now}
            assert {run.id for run in work.runs.overdue(self.now)} == late
            others = {run.id for run in held if run.holder != ME}
            assert {run.id for run in work.runs.held_by_others([ME])} == others
            assert {run.id for run in work.runs.held_by_others([])} == {run.id for run in held}

        self._read(question)


@pytest.mark.parametrize("name", STORES)
def test_any_life_of_any_runs(name: str) -> None:
    machine = type("RunTableOn" + name, (RunTable,), {"opened": staticmethod(STORES[name])})

    test = machine.TestCase  # type: ignore[attr-defined]
    test.settings = settings(
        max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    test("runTest").runTest()
