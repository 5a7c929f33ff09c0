# SPDX-License-Identifier: Apache-2.0
"""What every store promises. PostgreSQL joins by another fixture."""

import asyncio
import dataclasses
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from longshore.adapters.sql import SqliteStore
from longshore.adapters.sql.schema import metadata
from longshore.domain.errors import Conflict, NotFound, Unavailable
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, TokenId, new_id
from longshore.domain.order import Room
from longshore.domain.package import Artifact, Package
from longshore.domain.parameters import Parameter, ParameterType
from longshore.domain.project import Project, Role, Token, TokenKind
from longshore.domain.run import Run, RunError, RunFile, RunState, Step, Trigger, TriggerKind, Usage
from longshore.domain.secret import Secret
from longshore.domain.task import Limits, Revision, Task
from longshore.ports.store import Page, RunFilter, Store, Work

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
PROJECT = Project(id=ProjectId("p1"), slug="one", created_at=NOW)
OTHER = Project(id=ProjectId("p2"), slug="two", created_at=NOW)
ROOM = Room(cpus=2, memory_mb=2048)
ME = InterceptorId("me")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    one = SqliteStore(tmp_path / "longshore.db")
    await one.write(lambda work: [work.projects.add(project) for project in (PROJECT, OTHER)])
    yield one
    await one.close()


def a_digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


def a_task(name: str = "echo", **fields: object) -> Task:
    task = Task(
        id=TaskId(new_id(NOW)),
        project_id=PROJECT.id,
        name=name,
        runtime="python3.11",
        handler="app.handler",
        package_name=f"{name}.zip",
        package=a_digest(1),
        parameters=(Parameter(name="n", type=ParameterType.NUMBER, default="1", choices=("1", "2")),),
        environment={"A": "b ' \" ; DROP TABLE runs"},
        created_at=NOW,
        updated_at=NOW,
        updated_by="me",
    )
    return dataclasses.replace(task, **fields)  # type: ignore[arg-type]


def revision_of(task: Task) -> Revision:
    return Revision(task=task, at=NOW, by="me", why="created")


def a_run(number: int = 0, **fields: object) -> Run:
    at = NOW + timedelta(milliseconds=number)
    run = Run(
        id=RunId(new_id(at)),
        project_id=PROJECT.id,
        task_id=TaskId("t1"),
        task_name="echo",
        revision=1,
        package=a_digest(1),
        location="default",
        limits=Limits(),
        trigger=Trigger(kind=TriggerKind.API, by="me"),
        event='{"a": "\U0001f980"}',
        expand=True,
        queued_at=at,
    )
    return dataclasses.replace(run, **fields)  # type: ignore[arg-type]


def claim(work: Work, fence: str = "f", room: Room = ROOM, location: str = "default") -> Run | None:
    return work.runs.claim(
        location,
        room,
        holder=ME,
        holder_name="machine",
        fence=fence,
        at=NOW,
        until=NOW + timedelta(seconds=30),
    )


async def test_a_project_is_found_by_slug_and_its_slug_is_its_own(store: Store) -> None:
    assert await store.read(lambda work: work.projects.by_slug("one")) == PROJECT
    assert await store.read(lambda work: work.projects.get(OTHER.id)) == OTHER
    assert await store.read(lambda work: work.projects.page(Page(limit=1, after="one"))) == [OTHER]
    with pytest.raises(NotFound):
        await store.read(lambda work: work.projects.by_slug("three"))
    with pytest.raises(Conflict, match="one"):
        await store.write(lambda work: work.projects.add(dataclasses.replace(PROJECT, id=ProjectId("p3"))))


async def test_tokens_are_found_by_hash_and_listed_by_project(store: Store) -> None:
    token = Token(
        id=TokenId("k1"),
        name="ci",
        role=Role.RUNNER,
        project_id=PROJECT.id,
        hash="h1",
        kind=TokenKind.BEARER,
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    session = dataclasses.replace(token, id=TokenId("k2"), hash="h2", kind=TokenKind.SESSION)
    await store.write(lambda work: [work.tokens.add(one) for one in (token, session)])

    assert await store.read(lambda work: work.tokens.by_hash("h1")) == token
    assert await store.read(lambda work: work.tokens.page(PROJECT.id, Page())) == [token]
    assert await store.read(lambda work: work.tokens.page(None, Page())) == []

    await store.write(lambda work: work.tokens.used(token.id, NOW))
    used = await store.read(lambda work: work.tokens.by_hash("h1"))
    assert used is not None
    assert used.used_at == NOW
    await store.write(lambda work: work.tokens.remove(token.id))
    assert await store.read(lambda work: work.tokens.by_hash("h1")) is None


async def test_a_task_comes_back_as_it_was_in_every_revision(store: Store) -> None:
    first = a_task()
    second = dataclasses.replace(first, revision=2, package=a_digest(2), handler="app.other")
    await store.write(lambda work: work.tasks.add(revision_of(first)))
    await store.write(lambda work: work.tasks.update(revision_of(second)))

    assert await store.read(lambda work: work.tasks.by_name(PROJECT.id, "echo")) == second
    assert await store.read(lambda work: work.tasks.get(PROJECT.id, first.id)) == second
    assert (await store.read(lambda work: work.tasks.revision(first.id, 1))).task == first
    history = await store.read(lambda work: work.tasks.revisions(first.id, Page(limit=5)))
    assert [one.task.revision for one in history] == [2, 1]
    older = await store.read(lambda work: work.tasks.revisions(first.id, Page(after="2")))
    assert [one.task.revision for one in older] == [1]
    with pytest.raises(Conflict, match="somebody else"):
        await store.write(lambda work: work.tasks.update(revision_of(second)))
    with pytest.raises(NotFound):
        await store.read(lambda work: work.tasks.by_name(OTHER.id, "echo"))


async def test_a_task_name_is_taken_once_a_project_and_free_again_after_removal(store: Store) -> None:
    task = a_task()
    await store.write(lambda work: work.tasks.add(revision_of(task)))

    with pytest.raises(Conflict, match="echo"):
        await store.write(lambda work: work.tasks.add(revision_of(a_task())))
    await store.write(lambda work: work.tasks.add(revision_of(a_task(project_id=OTHER.id))))
    await store.write(lambda work: work.tasks.remove(task.id))
    await store.write(lambda work: work.tasks.add(revision_of(a_task())))

    assert (await store.read(lambda work: work.tasks.revision(task.id, 1))).task == task


async def test_tasks_are_paged_by_name_and_found_by_package(store: Store) -> None:
    tasks = [a_task(name) for name in ("c", "a", "b")]
    await store.write(lambda work: [work.tasks.add(revision_of(task)) for task in tasks])

    page = await store.read(lambda work: work.tasks.page(PROJECT.id, Page(limit=2, after="a")))
    assert [task.name for task in page] == ["b", "c"]
    users = await store.read(lambda work: work.tasks.using_package(PROJECT.id, "a.zip"))
    assert [task.name for task in users] == ["a"]


async def test_packages_keep_their_history(store: Store) -> None:
    packages = [
        Package(
            digest=a_digest(number),
            project_id=PROJECT.id,
            file_name="a.zip",
            size=number,
            uploaded_at=NOW + timedelta(seconds=number),
            uploaded_by="me",
        )
        for number in (1, 2)
    ]
    await store.write(lambda work: [work.packages.add(one) for one in (*packages, packages[0])])

    assert await store.read(lambda work: work.packages.get(PROJECT.id, a_digest(1))) == packages[0]
    history = await store.read(lambda work: work.packages.history(PROJECT.id, "a.zip", Page()))
    assert history == packages[::-1]
    after = packages[1].uploaded_at.isoformat()
    older = await store.read(lambda work: work.packages.history(PROJECT.id, "a.zip", Page(after=after)))
    assert older == packages[:1]
    with pytest.raises(NotFound):
        await store.read(lambda work: work.packages.get(OTHER.id, a_digest(1)))


def an_artifact(key: str, number: int = 1, bucket: str = "data") -> Artifact:
    return Artifact(
        project_id=PROJECT.id,
        bucket=bucket,
        key=key,
        digest=a_digest(number),
        size=10,
        updated_at=NOW,
        updated_by="me",
    )


async def test_artifacts_replace_one_another_and_are_paged_by_key_and_prefix(store: Store) -> None:
    keys = ["a/1", "a/2", "a%b", "b/1", "ä/1"]
    await store.write(lambda work: [work.artifacts.put(an_artifact(key)) for key in keys])
    await store.write(lambda work: work.artifacts.put(an_artifact("a/1", 2)))

    assert (await store.read(lambda work: work.artifacts.get(PROJECT.id, "data", "a/1"))).digest == a_digest(
        2
    )
    below = await store.read(lambda work: work.artifacts.page(PROJECT.id, "data", Page(), prefix="a/"))
    assert [one.key for one in below] == ["a/1", "a/2"]
    percent = await store.read(lambda work: work.artifacts.page(PROJECT.id, "data", Page(), prefix="a%"))
    assert [one.key for one in percent] == ["a%b"]
    page = await store.read(lambda work: work.artifacts.page(PROJECT.id, "data", Page(limit=2, after="a/1")))
    assert [one.key for one in page] == ["a/2", "b/1"]
    buckets = await store.read(lambda work: work.artifacts.buckets(PROJECT.id))
    assert [(one.name, one.objects, one.size, one.updated_at) for one in buckets] == [("data", 5, 50, NOW)]
    await store.write(lambda work: work.artifacts.remove(PROJECT.id, "data", "a/1"))
    with pytest.raises(NotFound):
        await store.write(lambda work: work.artifacts.remove(PROJECT.id, "data", "a/1"))
    with pytest.raises(NotFound):
        await store.read(lambda work: work.artifacts.get(OTHER.id, "data", "a/2"))


async def test_bytes_are_in_use_while_anything_points_at_them(store: Store) -> None:
    def users(work: Work) -> None:
        work.artifacts.put(an_artifact("a", 1))
        work.tasks.add(revision_of(a_task(package=a_digest(2))))
        work.runs.add(a_run(1, package=a_digest(3)))
        work.runs.add(a_run(2, inputs={"data/a": a_digest(4)}))
        work.runs.add(a_run(3, payload_digest=a_digest(5)))

    await store.write(users)

    used = await store.read(lambda work: [work.artifacts.is_used(a_digest(n)) for n in range(1, 7)])
    assert used == [True, True, True, True, True, False]


async def test_secrets_are_put_listed_and_removed(store: Store) -> None:
    secret = Secret(
        project_id=PROJECT.id, name="B", sealed=b"\x00\xff", hidden=True, updated_at=NOW, updated_by="me"
    )
    await store.write(lambda work: work.secrets.put(secret))
    await store.write(lambda work: work.secrets.put(dataclasses.replace(secret, name="A", hidden=False)))

    assert await store.read(lambda work: work.secrets.get(PROJECT.id, "B")) == secret
    named = await store.read(lambda work: work.secrets.named(PROJECT.id, ["B", "nothing"]))
    assert [one.name for one in named] == ["B"]
    page = await store.read(lambda work: work.secrets.page(PROJECT.id, Page(limit=1)))
    assert [one.name for one in page] == ["A"]
    with pytest.raises(NotFound):
        await store.read(lambda work: work.secrets.get(OTHER.id, "B"))
    await store.write(lambda work: work.secrets.remove(PROJECT.id, "B"))
    with pytest.raises(NotFound):
        await store.write(lambda work: work.secrets.remove(PROJECT.id, "B"))


async def test_a_run_comes_back_with_everything_it_learned(store: Store) -> None:
    run = a_run(notices=("spaces were removed",), defaulted=("a",), inputs={"data/x": a_digest(9)})
    await store.write(lambda work: work.runs.add(run))
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
    await store.write(lambda work: [work.runs.add(run) for run in (big, *small, elsewhere)])

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
    await store.write(lambda work: work.runs.add(run))
    held = await store.write(claim)
    assert held is not None
    until = NOW + timedelta(minutes=1)

    assert await store.write(lambda work: work.runs.extend(run.id, attempt=1, fence="f", until=until))
    with pytest.raises(Conflict):
        await store.write(lambda work: work.runs.extend(run.id, attempt=1, fence="other", until=until))
    await store.write(lambda work: work.runs.ask_to_cancel(run.id))
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


async def test_runs_are_paged_newest_first_and_filtered(store: Store) -> None:
    runs = [a_run(number, task_id=TaskId(f"t{number % 2}")) for number in range(6)]
    await store.write(lambda work: [work.runs.add(run) for run in runs])
    await store.write(claim)

    def ids(page: Page, wanted: RunFilter) -> list[int]:
        order = [run.id for run in runs]
        return [order.index(run.id) for run in wanted_page(page, wanted)]

    def wanted_page(page: Page, wanted: RunFilter) -> list[Run]:
        return found[(page, wanted)]

    asked = [
        (Page(limit=3), RunFilter()),
        (Page(limit=3, after=runs[3].id), RunFilter()),
        (Page(), RunFilter(task_id=TaskId("t1"))),
        (Page(), RunFilter(states=(RunState.STARTING,))),
    ]
    found = {
        one: list(await store.read(lambda work, one=one: work.runs.page(PROJECT.id, *one))) for one in asked
    }
    assert [ids(*one) for one in asked] == [[5, 4, 3], [2, 1, 0], [5, 3, 1], [0]]
    latest = await store.read(lambda work: work.runs.latest(PROJECT.id, [TaskId("t0"), TaskId("t1")]))
    assert {run.id for run in latest} == {runs[4].id, runs[5].id}
    counts = await store.read(lambda work: work.runs.counts(PROJECT.id))
    assert counts == {RunState.QUEUED: 5, RunState.STARTING: 1}


async def test_leases_that_ended_and_holders_that_are_gone_are_found(store: Store) -> None:
    await store.write(lambda work: work.runs.add(a_run()))
    held = await store.write(claim)
    assert held is not None

    async def overdue(seconds: int) -> int:
        at = NOW + timedelta(seconds=seconds)
        return len(await store.read(lambda work: work.runs.overdue(at)))

    async def orphans(*alive: InterceptorId) -> int:
        return len(await store.read(lambda work: work.runs.held_by_others(alive)))

    assert (await overdue(29), await overdue(31)) == (0, 1)
    assert (await orphans(), await orphans(ME), await orphans(InterceptorId("x"))) == (1, 0, 1)


async def test_signs_of_life_are_kept_by_instance(store: Store) -> None:
    me = Interceptor(
        id=ME,
        name="machine",
        location="default",
        cpu_cores=2,
        memory_mb=100,
        runtimes=("python3.11",),
        isolation="strict",
        version="1",
        seen_at=NOW,
    )
    await store.write(lambda work: work.fleet.seen(me))
    await store.write(lambda work: work.fleet.seen(dataclasses.replace(me, seen_at=NOW + timedelta(hours=1))))

    found = await store.read(lambda work: work.fleet.all(NOW + timedelta(minutes=30)))
    assert [one.seen_at for one in found] == [NOW + timedelta(hours=1)]
    assert await store.read(lambda work: work.fleet.all(NOW + timedelta(hours=2))) == []


async def test_a_change_that_fails_leaves_nothing_and_its_neighbours_commit(store: Store) -> None:
    def half(work: Work) -> None:
        work.runs.add(a_run(1))
        raise ValueError("after the first half")

    runs = [a_run(number) for number in range(2, 22)]
    asked = [store.write(lambda work, run=run: work.runs.add(run)) for run in runs]
    done = await asyncio.gather(store.write(half), *asked, return_exceptions=True)

    assert isinstance(done[0], ValueError)
    assert done[1:] == [None] * 20
    assert len(await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter()))) == 20


async def test_a_caller_that_was_cancelled_disturbs_nobody(store: Store) -> None:
    waiting = asyncio.ensure_future(store.write(lambda work: work.runs.add(a_run(1))))
    await asyncio.sleep(0)
    waiting.cancel()
    await store.write(lambda work: work.runs.add(a_run(2)))

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await store.read(lambda work: work.runs.queued_locations())


async def test_hostile_names_are_only_data(store: Store) -> None:
    key = "'; DROP TABLE runs; --\u202e<img>"
    await store.write(lambda work: work.artifacts.put(an_artifact(key)))

    assert (await store.read(lambda work: work.artifacts.get(PROJECT.id, "data", key))).key == key
    await store.write(lambda work: work.runs.add(a_run()))


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    await store.close()
    await store.close()

    with pytest.raises(Unavailable, match="closed"):
        await store.read(lambda work: work.projects.page(Page()))


class TestSqliteFile:
    """What holds for the file itself."""

    async def test_migrations_end_at_the_tables_of_the_code(self, tmp_path: Path) -> None:
        await SqliteStore(tmp_path / "a.db").close()

        engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=NullPool)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    async def test_a_database_of_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        await SqliteStore(tmp_path / "a.db").close()
        connection = sqlite3.connect(tmp_path / "a.db")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.close()

        with pytest.raises(Unavailable, match="newer Longshore"):
            SqliteStore(tmp_path / "a.db")

    async def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.db").write_bytes(b"not a database at all" * 100)

        with pytest.raises(Unavailable, match=r"a\.db"):
            SqliteStore(tmp_path / "a.db")

    async def test_another_process_may_write_beside_us(self, tmp_path: Path) -> None:
        first, second = SqliteStore(tmp_path / "a.db"), SqliteStore(tmp_path / "a.db")
        try:
            await first.write(lambda work: work.projects.add(PROJECT))
            writes = [
                store.write(lambda work, number=number: work.runs.add(a_run(number)))
                for number in range(100)
                for store in (first, second)
            ]
            await asyncio.gather(*writes)

            assert await second.read(lambda work: work.runs.queued_locations()) == [("default", 200)]
        finally:
            await first.close()
            await second.close()

    async def test_what_was_acknowledged_survives_kill_9(self, tmp_path: Path) -> None:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / "a.db")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(60)]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        store = SqliteStore(tmp_path / "a.db")
        try:
            slugs = {one.slug for one in await store.read(lambda work: work.projects.page(Page(limit=9999)))}
        finally:
            await store.close()
        assert set(acknowledged) <= slugs
        connection = sqlite3.connect(tmp_path / "a.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from longshore.adapters.sql import SqliteStore
from longshore.domain.project import Project

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    for number in range(100_000):
        project = Project(id=f"p{number}", slug=f"s{number}", created_at=datetime.now(UTC))
        await store.write(lambda work: work.projects.add(project))
        print(project.slug, flush=True)

asyncio.run(main())
"""
