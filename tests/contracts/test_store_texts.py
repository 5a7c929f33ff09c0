# SPDX-License-Identifier: Apache-2.0
"""Texts are only data to a store, and its lists come in pages whatever the keys."""

import asyncio
import uuid
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts.storing import PROJECT, a_run, a_task, an_artifact, putting, revision_of

from longshore.domain.errors import Conflict, Invalid, NotFound
from longshore.domain.package import Artifact
from longshore.domain.parameters import Parameter
from longshore.ports.store import Page, RunFilter, Store, Work

pytestmark = pytest.mark.anyio
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""A store serves all examples of a test; each example has a bucket or name of its own in it."""
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("name", ["'; DROP TABLE runs; --\u202e<img>", "\x00", "%_\\", "x" * 5000, ""])
async def test_hostile_names_are_only_data(store: Store, name: str) -> None:
    await store.write(lambda work: work.artifacts.put(an_artifact(name)))
    await store.write(lambda work: work.tasks.add(revision_of(a_task(name))))

    assert (await store.read(lambda work: work.artifacts.get(PROJECT.id, "data", name))).key == name
    assert (await store.read(lambda work: work.tasks.by_name(PROJECT.id, name))).name == name
    with pytest.raises(Conflict) as refused:
        await store.write(lambda work: work.tasks.add(revision_of(a_task(name))))
    with pytest.raises(NotFound) as missing:
        await store.read(lambda work: work.projects.by_slug(name))
    assert len(str(refused.value)) < 400
    assert len(str(missing.value)) < 400


async def test_half_a_character_is_refused_and_disturbs_nobody(store: Store) -> None:
    half = "a\ud800b"
    asked = [
        store.write(lambda work: work.artifacts.put(an_artifact(half))),
        store.write(lambda work: work.tasks.add(revision_of(a_task(description=half)))),
        store.write(lambda work: work.runs.add(a_run(event=f'"{half}"'))),
        store.read(lambda work: work.projects.by_slug(half)),
        store.write(lambda work: work.artifacts.put(an_artifact("fine"))),
    ]
    done = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(one) for one in done] == [Invalid] * 4 + [type(None)]
    assert "surrogate" in str(done[0])


@given(description=texts, default=st.none() | texts, environment=st.dictionaries(texts, texts, max_size=3))
@few
async def test_a_task_comes_back_whatever_its_texts(
    store: Store, description: str, default: str | None, environment: dict[str, str]
) -> None:
    task = a_task(
        name=uuid.uuid4().hex,
        description=description,
        parameters=(Parameter(name="n", default=default),),
        environment=environment,
    )

    await store.write(lambda work: work.tasks.add(revision_of(task)))

    assert await store.read(lambda work: work.tasks.get(PROJECT.id, task.id)) == task


keys = st.text(
    st.sampled_from(["a", "b", "/", "%", "_", "'", "\x00", "\ud7ff", "\ue000", "\U0010ffff"]), max_size=4
)


@given(named=st.sets(keys, max_size=12), prefix=keys, limit=st.integers(1, 5))
@few
async def test_pages_together_are_the_whole_list(
    store: Store, named: set[str], prefix: str, limit: int
) -> None:
    bucket = uuid.uuid4().hex
    await store.write(putting(*(an_artifact(key, bucket=bucket) for key in named)))

    def part(after: str | None) -> Callable[[Work], Sequence[Artifact]]:
        page = Page(limit=limit, after=after)
        return lambda work: work.artifacts.page(PROJECT.id, bucket, page, prefix=prefix)

    found: list[str] = []
    while items := await store.read(part(found[-1] if found else None)):
        assert len(items) <= limit
        found += [one.key for one in items]

    assert found == sorted(key for key in named if key.startswith(prefix))


@pytest.mark.parametrize("after", ["", "x", "-1", "9" * 40, "0001-01-01T00:00:00+23:59", "\x00"])
async def test_a_key_that_was_never_given_out_is_harmless(store: Store, after: str) -> None:
    task, page = a_task(), Page(after=after)
    await store.write(lambda work: work.tasks.add(revision_of(task)))

    def all_lists(work: Work) -> None:
        for items in (
            work.projects.page(page),
            work.tokens.page(None, page),
            work.tasks.page(PROJECT.id, page),
            work.tasks.revisions(task.id, page),
            work.packages.history(PROJECT.id, "a.zip", page),
            work.artifacts.page(PROJECT.id, "data", page),
            work.secrets.page(PROJECT.id, page),
            work.runs.page(PROJECT.id, page, RunFilter()),
        ):
            assert len(items) <= page.limit

    await store.read(all_lists)


@pytest.mark.parametrize("number", [-1, 0, 2, 2**70])
async def test_a_revision_that_never_was_is_not_found(store: Store, number: int) -> None:
    task = a_task()
    await store.write(lambda work: work.tasks.add(revision_of(task)))

    with pytest.raises(NotFound):
        await store.read(lambda work: work.tasks.revision(task.id, number))
