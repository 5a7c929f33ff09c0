# SPDX-License-Identifier: Apache-2.0
"""What the run table costs: queued to done, durable, beside the floor of bare SQLite commits in the same run.

    python bench/store.py [--runs 2000] [--callers 32] [--history 10000] [--rounds 5] [--directory DIR]

Rounds are interleaved, so that a noisy machine disturbs all alike; the figures are their medians.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from longshore.adapters.sql import SqliteStore
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, new_id
from longshore.domain.order import Room
from longshore.domain.project import Project
from longshore.domain.run import Run, RunState, Trigger, TriggerKind
from longshore.domain.task import Limits
from longshore.ports.store import Page, RunFilter, Work

PROJECT = ProjectId("p")
TASK = TaskId("t")
ROOM = Room(cpus=2, memory_mb=4096)
QUESTIONS: dict[str, Callable[[Work], object]] = {
    "nothing: the way to a reader and back": lambda work: None,
    "a project by its slug": lambda work: work.projects.by_slug("p"),
    "the newest run of a task": lambda work: work.runs.latest(PROJECT, [TASK]),
    "a page of 50 runs": lambda work: work.runs.page(PROJECT, Page(), RunFilter()),
    "a page of 50 failed runs": lambda work: work.runs.page(
        PROJECT, Page(), RunFilter(states=(RunState.FAILED,))
    ),
    "a page of lost runs, of which there is none": lambda work: work.runs.page(
        PROJECT, Page(), RunFilter(states=(RunState.LOST,))
    ),
    "how many runs are open": lambda work: work.runs.counts(PROJECT),
}


def a_run(state: RunState = RunState.QUEUED) -> Run:
    """A run as `submit` makes it."""
    now = datetime.now(UTC)
    return Run(
        id=RunId(new_id(now)),
        project_id=PROJECT,
        task_id=TASK,
        task_name="bench",
        revision=1,
        package=Digest("0" * 64),
        location="default",
        limits=Limits(),
        trigger=Trigger(kind=TriggerKind.API, by="bench"),
        event='{"a": 1}',
        expand=True,
        state=state,
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
    await store.write(lambda work: work.runs.save(running, expecting=RunState.STARTING, attempt=1, fence="f"))
    done = running.moved(RunState.SUCCEEDED, now)
    await store.write(lambda work: work.runs.save(done, expecting=RunState.RUNNING, attempt=1, fence="f"))


async def many(store: SqliteStore, runs: int, callers: int) -> float:
    """Runs a second with that many callers side by side."""

    async def caller() -> None:
        for _ in range(runs // callers):
            await there_and_back(store)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return runs // callers * callers / (time.perf_counter() - began)


async def fill(store: SqliteStore, runs: int) -> None:
    """A history: every hundredth run failed."""

    def change(work: Work) -> None:
        for number in range(runs):
            work.runs.add(a_run(RunState.FAILED if number % 100 == 0 else RunState.SUCCEEDED))

    await store.write(change)


async def milliseconds(ask: Callable[[], Awaitable[object]], times: int = 100) -> float:
    """How long one takes, median."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def bare_commits(directory: Path, count: int = 300) -> float:
    """The floor: bare commits a second with synchronous=FULL, one INSERT each."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (a TEXT)")
    began = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO t VALUES ('x')")
    took = time.perf_counter() - began
    connection.close()
    return count / took


async def measure(directory: Path, given: argparse.Namespace) -> None:
    """Interleaved rounds, medians."""
    store = SqliteStore(directory / "bench.db")
    await store.write(
        lambda work: work.projects.add(Project(id=PROJECT, slug="p", created_at=datetime.now(UTC)))
    )
    await fill(store, given.history)
    floor, alone, together = [], [], []
    for _ in range(given.rounds):
        floor.append(bare_commits(directory))
        alone.append(await many(store, 100, 1))
        together.append(await many(store, given.runs, given.callers))
    print(f"bare SQLite commits, FULL                    {statistics.median(floor):8.0f} commits/s")
    print(f"queued to done, 1 caller, 4 commits each     {statistics.median(alone):8.0f} runs/s")
    print(
        f"queued to done, {given.callers:4} callers                 {statistics.median(together):8.0f} runs/s"
    )
    print(f"among {given.history + given.rounds * (100 + given.runs):,} runs:")
    for name, question in QUESTIONS.items():
        took = await milliseconds(lambda question=question: store.read(question))  # type: ignore[misc]
        print(f"  {name:43}{took:8.3f} ms")
    await store.close()


def main() -> None:
    """Measure as the words of the command line say."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--runs", type=int, default=2000)
    words.add_argument("--callers", type=int, default=32)
    words.add_argument("--history", type=int, default=10_000)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--directory", type=Path, help="on the disk to measure; a temporary one otherwise")
    given = words.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        asyncio.run(measure(Path(name), given))


if __name__ == "__main__":
    main()
