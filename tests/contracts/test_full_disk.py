# SPDX-License-Identifier: Apache-2.0
"""A disk that is full: what the store has kept for that day, and how it comes back."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from tests.conftest import SmallDisk
from tests.contracts.storing import NOW, PROJECT, a_run, adding, claim, with_projects

from longshore.adapters.blobs_disk import DiskBlobs
from longshore.adapters.logbook import FileLogbook
from longshore.adapters.sql import Ballast, SqliteStore, ballast
from longshore.domain.errors import OutOfSpace, Unavailable
from longshore.domain.ids import RunId, new_id
from longshore.domain.logs import LogLine, Stream
from longshore.domain.run import Run, RunState
from longshore.ports.store import Page, RunFilter, Work

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("small_disk", [24], indirect=True)]
LAST = 24 * 2**20 // 4
LARGE = '"' + "x" * 500_000 + '"'


@pytest.fixture
async def store(small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """With 4 MB kept, and looked after at once."""
    monkeypatch.setattr(ballast, "BALLAST_BYTES", 4_000_000)
    monkeypatch.setattr(ballast, "ENOUGH_BYTES", 8_000_000)
    monkeypatch.setattr(ballast, "LOOK_EVERY_S", 0.0)
    one = SqliteStore(small_disk.at / "longshore.db", ballast=Ballast(small_disk.at / "ballast"))
    await one.write(with_projects)
    yield one
    await one.close()


async def begun(store: SqliteStore, number: int) -> list[Run]:
    """Runs under way."""
    await store.write(adding(*(a_run(n) for n in range(number))))
    claimed = [await store.write(claim) for _ in range(number)]
    return [run for run in claimed if run is not None]


def ending(run: Run, payload: str = LARGE) -> Callable[[Work], None]:
    """The change that ends a run with a large result."""
    ended = replace(run.moved(RunState.FAILED, NOW), payload=payload)
    return lambda work: work.runs.save(ended, expecting=run.state, attempt=run.attempt, fence=run.fence)


async def test_what_was_begun_is_finished_and_nothing_new_begins(
    store: SqliteStore, small_disk: SmallDisk
) -> None:
    runs = await begun(store, 3)
    assert (small_disk.at / "ballast").stat().st_size == 4_000_000
    small_disk.fill()

    for run in runs:
        await store.write(ending(run))

    assert not (small_disk.at / "ballast").exists()
    assert store.is_short
    with pytest.raises(Unavailable, match="no new runs until somebody makes room"):
        await store.write(adding(a_run(9)))
    ended = await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter()))
    assert [(run.state, run.payload) for run in ended] == [(RunState.FAILED, LARGE)] * 3


async def test_when_that_is_used_up_reads_go_on_and_room_brings_everything_back(
    store: SqliteStore, small_disk: SmallDisk
) -> None:
    runs = await begun(store, 3)
    small_disk.fill()
    await store.write(ending(runs[0]))
    small_disk.fill()

    ends = [store.write(ending(run, LARGE * 6)) for run in runs[1:]]
    with pytest.raises(Unavailable, match=r"the disk of the database .* is full") as refused:
        await asyncio.gather(*ends)

    assert not isinstance(refused.value, OutOfSpace)
    kept = await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter()))
    assert [run.state for run in kept].count(RunState.FAILED) in (1, 2)
    small_disk.clear()
    await store.write(adding(a_run(9)))
    assert (small_disk.at / "ballast").exists()
    assert not store.is_short
    with sqlite3.connect(small_disk.at / "longshore.db") as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_uploads_and_logs_leave_the_last_room_alone(small_disk: SmallDisk) -> None:
    blobs, logbook = DiskBlobs(small_disk.at / "blobs"), FileLogbook(small_disk.at / "logs")
    run = RunId(new_id(NOW))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    def line(seq: int) -> LogLine:
        return LogLine(
            run=run, attempt=1, seq=seq, at=NOW, stream=Stream.STDOUT, level=None, text="x" * 50_000
        )

    with pytest.raises(OutOfSpace):
        async with blobs.stage(endless(), limit=1 << 40):
            pass
    seqs = iter(range(1, 1000))

    async def endless_lines() -> None:
        for seq in seqs:
            await logbook.write(run, [line(seq)])

    with pytest.raises(OutOfSpace):
        await endless_lines()

    assert shutil.disk_usage(small_disk.at).free >= LAST
    assert list((small_disk.at / "blobs" / "incoming").iterdir()) == []
    lines = [one.seq async for batch in logbook.read(run) for one in batch]
    assert lines == list(range(1, next(seqs) - 1))
