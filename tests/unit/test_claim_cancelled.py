# SPDX-License-Identifier: Apache-2.0
"""An interceptor that stops asking at the very moment a run is given to it must not hold that run up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.memory_link import CODE, NOW

from longshore.adapters.blobs_disk import DiskBlobs
from longshore.adapters.broker_memory import MemoryBroker
from longshore.adapters.clock import SystemClock
from longshore.adapters.logbook import FileLogbook
from longshore.adapters.notifier_memory import MemoryNotifier
from longshore.adapters.sql import SqliteStore
from longshore.adapters.vault import MasterKeyVault
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import InterceptorId, ProjectId, RunId, TaskId, new_id
from longshore.domain.order import Room
from longshore.domain.project import Project
from longshore.domain.run import Run, RunState, Trigger, TriggerKind
from longshore.domain.task import Limits, Revision, Task
from longshore.ports.store import Work
from longshore.services.dispatch import Dispatch
from longshore.services.express import Express
from longshore.services.remembered import Remembered

pytestmark = pytest.mark.anyio
AGENT = Interceptor(
    id=InterceptorId("me"),
    name="machine",
    location="default",
    cpu_cores=2,
    memory_mb=2048,
    runtimes=("python3.11",),
    isolation="none",
    version="0",
    seen_at=NOW,
)

PROJECT = Project(id=ProjectId("p1"), slug="one", created_at=NOW)
TASK = Task(
    id=TaskId("t1"),
    project_id=PROJECT.id,
    name="echo",
    runtime="python3.11",
    handler="app.handler",
    package_name="echo.zip",
    package=CODE,
    created_at=NOW,
    updated_at=NOW,
    updated_by="me",
)
RUN = Run(
    id=RunId(new_id(NOW)),
    project_id=PROJECT.id,
    task_id=TASK.id,
    task_name="echo",
    revision=1,
    package=CODE,
    location="default",
    limits=Limits(),
    trigger=Trigger(kind=TriggerKind.API, by="me"),
    event="{}",
    expand=True,
    queued_at=NOW,
)


def begin(work: Work) -> None:
    work.projects.add(PROJECT)
    work.tasks.add(Revision(task=TASK, at=NOW, by="me", why="created"))
    work.runs.add(RUN)


@pytest.fixture
async def dispatch(tmp_path: Path) -> AsyncIterator[Dispatch]:
    store = SqliteStore(tmp_path / "longshore.db")
    logbook = FileLogbook(tmp_path / "logs")
    broker, notifier, clock = MemoryBroker(), MemoryNotifier(), SystemClock()
    yield Dispatch(
        store,
        broker,
        DiskBlobs(tmp_path / "blobs"),
        MasterKeyVault.from_file(tmp_path / "key"),
        logbook,
        notifier,
        clock,
        Express(store, logbook, broker, notifier, clock),
        Remembered(store),
    )
    await store.close()


async def test_a_run_that_was_taken_for_nobody_is_queued_again_at_once(dispatch: Dispatch) -> None:
    await dispatch.store.write(begin)

    for steps in range(1, 30):
        claiming = asyncio.ensure_future(dispatch.claim(AGENT, Room(cpus=2, memory_mb=2048)))
        for _ in range(steps):
            await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        if not claiming.cancelled():
            break
        now = await dispatch.store.read(lambda work: work.runs.get(None, RUN.id))
        assert now.state is RunState.QUEUED

    lease = (
        claiming.result()
        if not claiming.cancelled()
        else await dispatch.claim(AGENT, Room(cpus=2, memory_mb=2048))
    )
    assert lease is not None
    assert lease.run == RUN.id
