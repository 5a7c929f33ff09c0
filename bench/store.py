# SPDX-License-Identifier: Apache-2.0
"""What the run table costs: queued to done, durable, beside the floor of bare SQLite commits in one run.

    python bench/store.py [--runs 2000] [--callers 32]
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from longshore.adapters.sql import SqliteStore
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, new_id
from longshore.domain.order import Room
from longshore.domain.project import Project
from longshore.domain.run import Run, RunState, Trigger, TriggerKind
from longshore.domain.task import Limits
from longshore.ports.store import Page, RunFilter

PROJECT = ProjectId("p")
ROOM = Room(cpus=2, memory_mb=4096)


def a_run() -> Run:
    """A queued run as `submit` makes it."""
    now = datetime.now(UTC)
    return Run(
        id=RunId(new_id(now)),
        project_id=PROJECT,
        task_id=TaskId("t"),
        task_name="bench",
        revision=1,
        package=Digest("0" * 64),
        location="default",
        limits=Limits(),
        trigger=Trigger(kind=TriggerKind.API, by="bench"),
        event='{"a": 1}',
        expand=True,
        queued_at=now,
    )


async def there_and_back(store: SqliteStore) -> None:
    """Queued, claimed, running, succeeded: four durable steps."""
    run = a_run()
    await store.write(lambda work: work.runs.add(run))
    now = datetime.now(UTC)
    claimed = await store.write(
        lambda work: work.runs.claim(
            "default",
            ROOM,
            holder=InterceptorId("i"),
            holder_name="bench",
            fence="f",
            at=now,
            until=now + timedelta(seconds=30),
        )
    )
    assert claimed is not None
    running = claimed.moved(RunState.RUNNING, now)
    await store.write(
        lambda work: work.runs.save(running, expecting=RunState.STARTING, attempt=1, fence="f")
    )
    done = running.moved(RunState.SUCCEEDED, now)
    await store.write(lambda work: work.runs.save(done, expecting=RunState.RUNNING, attempt=1, fence="f"))


async def many(store: SqliteStore, runs: int, callers: int) -> float:
    """Runs a second with that many callers side by side."""

    async def caller() -> None:
        for _ in range(runs // callers):
            await there_and_back(store)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return runs / (time.perf_counter() - began)


async def pages(store: SqliteStore) -> float:
    """Milliseconds for a page of 50 runs, median of 50."""
    took = []
    for _ in range(50):
        began = time.perf_counter()
        await store.read(lambda work: work.runs.page(PROJECT, Page(limit=50), RunFilter()))
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def bare_commits(path: Path, count: int = 300) -> float:
    """The floor: bare commits a second with synchronous=FULL, one INSERT each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (a TEXT)")
    began = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO t VALUES ('x')")
    took = time.perf_counter() - began
    connection.close()
    return count / took


async def main() -> None:
    """Interleaved rounds, medians."""
    words = argparse.ArgumentParser()
    words.add_argument("--runs", type=int, default=2000)
    words.add_argument("--callers", type=int, default=32)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name) / "bench.db")
        await store.write(
            lambda work: work.projects.add(Project(id=PROJECT, slug="p", created_at=datetime.now(UTC)))
        )
        alone: list[float] = []
        together: list[float] = []
        floor: list[float] = []
        for round_ in range(5):
            alone.append(await many(store, 200, 1))
            together.append(await many(store, given.runs, given.callers))
            floor.append(bare_commits(Path(name) / f"bare-{round_}.db"))
        print(f"queued to done, 1 caller             {statistics.median(alone):8.0f} runs/s (4 commits each)")
        print(f"queued to done, {given.callers} callers           {statistics.median(together):8.0f} runs/s")
        print(f"bare SQLite commits, FULL            {statistics.median(floor):8.0f} commits/s")
        print(f"a page of 50 out of {5 * (200 + given.runs):6} runs       {await pages(store):8.2f} ms")
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
