# SPDX-License-Identifier: Apache-2.0
"""What every store promises. Runs have a file of their own, and so has SQLite's file."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.contracts.storing import (
    ME,
    NOW,
    OTHER,
    PROJECT,
    a_digest,
    a_package,
    a_run,
    a_task,
    adding,
    an_artifact,
    putting,
    revision_of,
)

from longshore.domain.errors import Conflict, NotFound, Unavailable
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import ProjectId, TokenId
from longshore.domain.project import Role, Token, TokenKind
from longshore.domain.run import RunFile
from longshore.domain.secret import Secret
from longshore.ports.store import Page, RunFilter, Store, Work

pytestmark = pytest.mark.anyio


async def test_a_project_is_found_by_slug_and_its_slug_is_its_own(store: Store) -> None:
    assert await store.read(lambda work: work.projects.by_slug("one")) == PROJECT
    assert await store.read(lambda work: work.projects.get(OTHER.id)) == OTHER
    assert await store.read(lambda work: work.projects.page(Page(limit=1, after="one"))) == [OTHER]
    with pytest.raises(NotFound):
        await store.read(lambda work: work.projects.by_slug("three"))
    with pytest.raises(Conflict, match="one"):
        await store.write(lambda work: work.projects.add(dataclasses.replace(PROJECT, id=ProjectId("p3"))))


def adding_token(token: Token) -> Callable[[Work], None]:
    return lambda work: work.tokens.add(token)


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
    for one in (token, session):
        await store.write(adding_token(one))

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
    def change(work: Work) -> None:
        for name in ("c", "a", "b"):
            work.tasks.add(revision_of(a_task(name)))

    await store.write(change)

    page = await store.read(lambda work: work.tasks.page(PROJECT.id, Page(limit=2, after="a")))
    assert [task.name for task in page] == ["b", "c"]
    users = await store.read(lambda work: work.tasks.using_package(PROJECT.id, "a.zip"))
    assert [task.name for task in users] == ["a"]


async def test_packages_keep_their_history(store: Store) -> None:
    packages = [a_package(number) for number in (1, 2)]

    def change(work: Work) -> None:
        for one in (*packages, packages[0]):
            work.packages.add(one)

    await store.write(change)

    assert await store.read(lambda work: work.packages.get(PROJECT.id, a_digest(1))) == packages[0]
    history = await store.read(lambda work: work.packages.history(PROJECT.id, "a.zip", Page()))
    assert history == packages[::-1]
    after = packages[1].uploaded_at.isoformat()
    older = await store.read(lambda work: work.packages.history(PROJECT.id, "a.zip", Page(after=after)))
    assert older == packages[:1]
    with pytest.raises(NotFound):
        await store.read(lambda work: work.packages.get(OTHER.id, a_digest(1)))


async def test_artifacts_replace_one_another_and_are_paged_by_key_and_prefix(store: Store) -> None:
    keys = ["a/1", "a/2", "a%b", "b/1", "ä/1"]
    await store.write(putting(*map(an_artifact, keys)))
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
        work.packages.add(a_package(6))
        left = RunFile(bucket="runs", key="k", name="k", size=1, digest=a_digest(7))
        work.runs.add(a_run(4, files=(left,)))
        work.runs.add(run := a_run(5))
        for _ in range(2):
            work.runs.add_file(run.id, dataclasses.replace(left, digest=a_digest(8)))

    await store.write(users)

    used = await store.read(lambda work: [work.artifacts.is_used(a_digest(n)) for n in range(1, 10)])
    assert used == [True] * 8 + [False]


async def test_the_bytes_of_a_removed_task_stay_in_use_by_its_history(store: Store) -> None:
    task = a_task(package=a_digest(2))
    await store.write(lambda work: work.tasks.add(revision_of(task)))

    await store.write(lambda work: work.tasks.remove(task.id))

    assert await store.read(lambda work: work.artifacts.is_used(a_digest(2)))
    with pytest.raises(NotFound):
        await store.read(lambda work: work.tasks.by_name(PROJECT.id, task.name))


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
    assert await store.read(lambda work: work.secrets.any_one()) is not None
    with pytest.raises(NotFound):
        await store.read(lambda work: work.secrets.get(OTHER.id, "B"))
    await store.write(lambda work: work.secrets.remove(PROJECT.id, "B"))
    with pytest.raises(NotFound):
        await store.write(lambda work: work.secrets.remove(PROJECT.id, "B"))


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
    asked = [store.write(adding(run)) for run in runs]
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


async def test_a_change_may_let_any_exception_out(store: Store) -> None:
    def empty(_: Work) -> int:
        nothing: list[int] = []
        return next(iter(nothing))

    asked = [store.write(empty), store.write(lambda _: 1), store.read(empty), store.read(lambda _: 2)]
    done = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)

    assert [type(one) for one in done] == [RuntimeError, int, RuntimeError, int]


async def test_a_caller_that_was_cancelled_beside_others_takes_nobody_with_it(store: Store) -> None:
    asked = [asyncio.ensure_future(store.write(adding(a_run(number)))) for number in range(40)]
    await asyncio.sleep(0)
    for one in asked[::2]:
        one.cancel()
    done = await asyncio.gather(*asked, return_exceptions=True)

    kept = await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter()))
    assert done[1::2] == [None] * 20
    assert len(kept) >= 20


async def test_what_was_begun_is_finished_when_the_store_closes(store: Store) -> None:
    ended: list[int] = []
    asked = [asyncio.ensure_future(store.write(adding(a_run(number)))) for number in range(200)]
    asked += [asyncio.ensure_future(store.read(lambda _: ended.append(1))) for _ in range(50)]
    await asyncio.sleep(0)

    await asyncio.gather(store.close(), store.close())

    assert all(one.done() and one.exception() is None for one in asked)
    assert len(ended) == 50
    for refused in (store.write, store.read):
        with pytest.raises(Unavailable, match="closed"):
            await refused(lambda work: work.projects.page(Page()))
    await store.close()


async def test_a_question_sees_one_moment(store: Store) -> None:
    loop = asyncio.get_running_loop()

    def twice(work: Work) -> tuple[int, int]:
        before = len(work.projects.page(Page()))
        asyncio.run_coroutine_threadsafe(store.write(another), loop).result(30)
        return before, len(work.projects.page(Page()))

    def another(work: Work) -> None:
        work.projects.add(dataclasses.replace(PROJECT, id=ProjectId("p3"), slug="three"))

    assert await store.read(twice) == (2, 2)
    assert len(await store.read(lambda work: work.projects.page(Page()))) == 3
