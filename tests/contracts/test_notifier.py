# SPDX-License-Identifier: Apache-2.0
"""What every notifier promises (ports.notifier)."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from longshore.adapters.notifier_memory import QUEUED_EVENTS, MemoryNotifier
from longshore.domain.events import RunChanged
from longshore.domain.ids import Digest, ProjectId, RunId, TaskId
from longshore.domain.run import Run, Trigger, TriggerKind
from longshore.domain.task import Limits
from longshore.ports.notifier import Notifier

pytestmark = pytest.mark.anyio
OURS, THEIRS = ProjectId("ours"), ProjectId("theirs")
RUN = Run(
    id=RunId("1"),
    project_id=OURS,
    task_id=TaskId("t"),
    task_name="t",
    revision=1,
    package=Digest("d"),
    location="default",
    limits=Limits(),
    trigger=Trigger(kind=TriggerKind.API, by="me"),
    event="{}",
    expand=False,
    queued_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def event(number: int, project: ProjectId = OURS) -> RunChanged:
    return RunChanged(run=replace(RUN, id=RunId(str(number)), project_id=project))


async def taken(listener: AsyncIterator[RunChanged], count: int) -> list[str]:
    return [(await anext(listener)).run.id for _ in range(count)]


class NotifierContract:
    """Every adapter's test class derives from this one and gives the fixture."""

    @pytest.fixture
    def notifier(self) -> Notifier:
        raise NotImplementedError

    async def test_everyone_who_listens_is_told_in_order(self, notifier: Notifier) -> None:
        first, second = notifier.listen(), notifier.listen()

        for number in range(3):
            notifier.notify(event(number))

        assert await taken(first, 3) == await taken(second, 3) == ["0", "1", "2"]

    async def test_what_happens_after_the_call_is_heard_before_the_first_look(
        self, notifier: Notifier
    ) -> None:
        notifier.notify(event(1))
        listener = notifier.listen()
        notifier.notify(event(2))

        assert await taken(listener, 1) == ["2"]

    async def test_a_project_hears_only_its_own(self, notifier: Notifier) -> None:
        ours, everything = notifier.listen(OURS), notifier.listen()

        notifier.notify(event(1, THEIRS))
        notifier.notify(event(2, OURS))

        assert await taken(ours, 1) == ["2"]
        assert await taken(everything, 2) == ["1", "2"]

    async def test_who_waits_is_woken(self, notifier: Notifier) -> None:
        listener = notifier.listen()
        wait = asyncio.create_task(taken(listener, 1))
        await asyncio.sleep(0)

        notifier.notify(event(1))

        assert await wait == ["1"]

    async def test_a_cancelled_wait_loses_nothing(self, notifier: Notifier) -> None:
        listener = notifier.listen()
        wait = asyncio.create_task(taken(listener, 1))
        await asyncio.sleep(0)
        notifier.notify(event(1))
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)

        assert await taken(listener, 1) == ["1"]

    async def test_telling_nobody_is_harmless(self, notifier: Notifier) -> None:
        notifier.notify(event(1))


class TestMemoryNotifier(NotifierContract):
    @pytest.fixture
    def notifier(self) -> Notifier:
        return MemoryNotifier()

    async def test_a_listener_that_never_reads_keeps_the_newest(self, notifier: Notifier) -> None:
        listener = notifier.listen()

        for number in range(QUEUED_EVENTS + 10):
            notifier.notify(event(number))

        assert await taken(listener, QUEUED_EVENTS) == [str(n + 10) for n in range(QUEUED_EVENTS)]

    async def test_closing_ends_the_iteration_and_the_listening(self) -> None:
        notifier = MemoryNotifier()
        listener = notifier.listen()
        wait = asyncio.create_task(taken(listener, 1))
        await asyncio.sleep(0)

        await listener.aclose()  # type: ignore[attr-defined]
        notifier.notify(event(1))

        with pytest.raises(StopAsyncIteration):
            await wait
        assert [found async for found in listener] == []

    async def test_a_listener_that_nobody_holds_is_forgotten(self) -> None:
        notifier = MemoryNotifier()
        listener = notifier.listen()
        assert len(notifier._listeners) == 1

        del listener
        gc.collect()

        assert len(notifier._listeners) == 0
