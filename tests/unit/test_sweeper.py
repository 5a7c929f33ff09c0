# SPDX-License-Identifier: Apache-2.0
"""Nothing waits for ever: queued runs are rung for again, silent holders lose their runs, old ones expire."""

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.contracts.storing import NOW, PROJECT
from tests.unit.test_claim_cancelled import AGENT, RUN, TASK

from longshore.adapters.blobs_disk import DiskBlobs
from longshore.adapters.broker_memory import MemoryBroker
from longshore.adapters.logbook import FileLogbook
from longshore.adapters.notifier_memory import MemoryNotifier
from longshore.adapters.sql import SqliteStore
from longshore.adapters.vault import MasterKeyVault
from longshore.domain.order import Cancelled, Lease, Phase, Room
from longshore.domain.project import Actor, Role
from longshore.domain.run import Run, RunResult, RunState
from longshore.domain.task import OnLost, Revision
from longshore.ports.store import Work
from longshore.services.dispatch import Dispatch
from longshore.services.express import Express
from longshore.services.remembered import Remembered
from longshore.services.runs import RunService
from longshore.services.sweeper import Sweeper

pytestmark = pytest.mark.anyio
ADA = Actor(name="ada", role=Role.RUNNER, project_id=PROJECT.id)


@dataclass
class Hands:
    """A clock that stands where it is put."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class Plane:
    """A control plane without a server."""

    store: SqliteStore
    broker: MemoryBroker
    clock: Hands
    dispatch: Dispatch
    sweeper: Sweeper
    runs: RunService

    async def with_run(self, *, on_lost: OnLost = OnLost.GIVE_UP) -> None:
        def change(work: Work) -> None:
            work.projects.add(PROJECT)
            task = dataclasses.replace(TASK, project_id=PROJECT.id, on_lost=on_lost)
            work.tasks.add(Revision(task=task, at=NOW, by="me", why="created"))
            work.runs.add(dataclasses.replace(RUN, project_id=PROJECT.id, queued_at=NOW))

        await self.store.write(change)

    async def held(self) -> Lease:
        lease = await self.dispatch.claim(AGENT, Room(cpus=2, memory_mb=2048))
        assert lease is not None
        return lease

    async def run(self) -> Run:
        return await self.store.read(lambda work: work.runs.get(None, RUN.id))


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    store, broker, clock = SqliteStore(tmp_path / "a.db"), MemoryBroker(), Hands()
    blobs, logbook, notifier = DiskBlobs(tmp_path / "blobs"), FileLogbook(tmp_path / "logs"), MemoryNotifier()
    express = Express(store, logbook, broker, notifier, clock)
    dispatch = Dispatch(
        store, broker, blobs, MasterKeyVault(bytes(32)), logbook, notifier, clock, express, Remembered(store)
    )
    yield Plane(
        store,
        broker,
        clock,
        dispatch,
        Sweeper(store, broker, dispatch, clock),
        RunService(store, broker, blobs, logbook, notifier, clock, express, Remembered(store)),
    )
    await store.close()


async def test_a_queued_run_whose_bell_was_lost_is_rung_for_again(plane: Plane) -> None:
    await plane.with_run()

    await plane.sweeper.sweep()

    assert await plane.broker.wait("default", 1)


async def test_a_run_that_nobody_takes_expires_with_its_reason(plane: Plane) -> None:
    await plane.with_run()
    plane.clock.at = NOW + timedelta(hours=5, minutes=59)
    await plane.sweeper.sweep()
    assert (await plane.run()).state is RunState.QUEUED

    plane.clock.at = NOW + timedelta(hours=6, minutes=1)
    await plane.sweeper.sweep()

    run = await plane.run()
    assert run.state is RunState.EXPIRED
    assert run.reason == "no interceptor took it within 6 hours"


async def test_a_silent_holder_loses_a_run_that_never_started_to_the_queue(plane: Plane) -> None:
    await plane.with_run()
    await plane.held()

    plane.clock.at = NOW + timedelta(seconds=31)
    await plane.sweeper.sweep()

    run = await plane.run()
    assert (run.state, run.attempt) == (RunState.QUEUED, 2)
    assert "machine fell silent" in (run.reason or "")


@pytest.mark.parametrize(
    ("on_lost", "state"), [(OnLost.GIVE_UP, RunState.LOST), (OnLost.RUN_AGAIN, RunState.QUEUED)]
)
async def test_what_becomes_of_a_started_run_is_the_tasks_policy(
    plane: Plane, on_lost: OnLost, state: RunState
) -> None:
    await plane.with_run(on_lost=on_lost)
    await plane.dispatch.extend(await plane.held(), Phase.USER_CODE)

    plane.clock.at = NOW + timedelta(seconds=31)
    await plane.sweeper.sweep()

    assert (await plane.run()).state is state


async def test_a_cancelled_run_says_who_cancelled_it(plane: Plane) -> None:
    await plane.with_run()
    lease = await plane.held()
    await plane.runs.cancel(PROJECT, RUN.id, actor=ADA)

    news = await plane.dispatch.extend(lease, Phase.USER_CODE)
    assert isinstance(news, Cancelled)
    await plane.dispatch.finish(lease, RunResult(state=RunState.CANCELLED, reason=news.reason))

    run = await plane.run()
    assert (run.state, run.reason) == (RunState.CANCELLED, "cancelled by ada")


async def test_a_cancellation_that_came_after_the_look_at_a_lost_run_counts(plane: Plane) -> None:
    await plane.with_run()
    await plane.dispatch.extend(await plane.held(), Phase.USER_CODE)
    seen = await plane.run()
    await plane.runs.cancel(PROJECT, RUN.id, actor=ADA)

    await plane.dispatch.give_up(seen, reason="the interceptor fell silent")

    run = await plane.run()
    assert (run.state, run.reason) == (
        RunState.CANCELLED,
        "cancelled by ada; the interceptor fell silent",
    )
