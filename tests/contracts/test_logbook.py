# SPDX-License-Identifier: Apache-2.0
"""What every logbook promises (ports.logbook), and what the one of files promises beyond that."""

import asyncio
import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from longshore.adapters.logbook import BATCH_BYTES, RECENT_BYTES, FileLogbook
from longshore.domain.errors import Invalid, OutOfSpace
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, LogLine, Stream
from longshore.ports.logbook import Logbook

pytestmark = pytest.mark.anyio
RUN = RunId("018f0000-0000-7000-8000-0000000000ab")
OTHER = RunId("018f0000-0000-7000-8000-0000000000ac")
AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def line(seq: int, text: str = "hello", *, run: RunId = RUN) -> LogLine:
    return LogLine(
        run=run,
        attempt=1,
        seq=seq,
        at=AT + timedelta(microseconds=seq),
        stream=Stream.STDOUT,
        level=None,
        text=text,
    )


def lines(first: int, last: int, text: str = "hello") -> Sequence[LogLine]:
    return [line(seq, text) for seq in range(first, last + 1)]


async def read(book: Logbook, run: RunId = RUN, *, after: int = 0, follow: bool = False) -> list[LogLine]:
    return [one async for batch in book.read(run, after=after, follow=follow) for one in batch]


async def seqs(book: Logbook, run: RunId = RUN, *, after: int = 0, follow: bool = False) -> list[int]:
    return [one.seq for one in await read(book, run, after=after, follow=follow)]


async def settled(*followers: "asyncio.Task[list[int]]") -> None:
    """Let followers get to where they wait."""
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in followers)


class LogbookContract:
    """Every adapter's test class derives from this one and gives the fixture."""

    @pytest.fixture
    def book(self, tmp_path: Path) -> Logbook:
        raise NotImplementedError

    async def test_lines_come_back_as_they_were_written(self, book: Logbook) -> None:
        written = [
            line(1, ""),
            line(2, 'tab\t, cr\r, \x1b[31mred\x1b[0m, \u2028, 🚢, \x00, newline\n, quote", \\'),
            LogLine(
                run=RUN,
                attempt=2,
                seq=3,
                at=AT,
                stream=Stream.PLATFORM,
                level=Level.WARNING,
                text="x" * 65_536,
            ),
            LogLine(run=RUN, attempt=2, seq=4, at=AT, stream=Stream.STDERR, level=Level.ERROR, text="\ud800"),
        ]

        await book.write(RUN, written)

        assert await read(book) == written

    async def test_a_run_without_a_log_has_no_lines(self, book: Logbook) -> None:
        await book.write(OTHER, [line(1, run=OTHER)])
        await book.write(RUN, [])

        assert await read(book) == []
        assert await book.last_seq(RUN) == 0

    async def test_sending_twice_is_harmless(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 5))
        await book.write(RUN, lines(1, 5))
        await book.write(RUN, [*lines(3, 7), line(7, "again")])

        assert await seqs(book) == [1, 2, 3, 4, 5, 6, 7]
        assert await book.last_seq(RUN) == 7

    async def test_numbers_may_have_gaps(self, book: Logbook) -> None:
        await book.write(RUN, [line(5), line(9)])

        assert await seqs(book, after=5) == [9]
        assert await seqs(book, after=6) == [9]

    @pytest.mark.parametrize("after", [0, 1, 2499, 4998, 4999, 5000, 6000])
    async def test_reading_begins_after_any_line_of_a_long_log(self, book: Logbook, after: int) -> None:
        for first in range(1, 5000, 100):
            await book.write(RUN, lines(first, first + 99, "x" * (first % 250)))

        assert await seqs(book, after=after) == list(range(after + 1, 5001))

    async def test_batches_are_small(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 3000, "x" * 100))
        await book.write(RUN, lines(3001, 3010, "y" * 65_536))

        batches = [batch async for batch in book.read(RUN)]

        assert [one.seq for batch in batches for one in batch] == list(range(1, 3011))
        assert all(batches)
        assert max(sum(len(one.text) for one in batch) for batch in batches) <= 2 * 65_536

    async def test_a_follower_gets_what_is_written_until_the_end(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 3))
        follower = asyncio.create_task(seqs(book, follow=True))
        late = asyncio.create_task(seqs(book, after=4, follow=True))
        await settled(follower, late)

        await book.write(RUN, lines(4, 5))
        await settled(follower, late)
        await book.write(RUN, lines(6, 6))
        await book.close(RUN)

        assert await follower == [1, 2, 3, 4, 5, 6]
        assert await late == [5, 6]

    async def test_a_follower_waits_for_a_log_that_nobody_has_begun(self, book: Logbook) -> None:
        follower = asyncio.create_task(seqs(book, follow=True))
        await settled(follower)

        await book.write(RUN, lines(1, 2))
        await book.close(RUN)

        assert await follower == [1, 2]

    async def test_a_follower_of_a_run_that_logs_nothing_ends_too(self, book: Logbook) -> None:
        follower = asyncio.create_task(seqs(book, follow=True))
        await settled(follower)

        await book.close(RUN)

        assert await follower == []

    async def test_a_follower_that_comes_after_the_end_gets_every_line(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 3))
        await book.close(RUN)

        assert await seqs(book, follow=True) == [1, 2, 3]

    async def test_who_does_not_follow_does_not_wait(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 3))

        assert await seqs(book) == [1, 2, 3]

    async def test_a_reader_that_does_not_read_slows_nobody(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 1))
        slow = book.read(RUN, follow=True)
        assert [one.seq for one in await anext(aiter(slow))] == [1]

        for first in range(2, 5002, 100):
            await book.write(RUN, lines(first, first + 99, "x" * 100))
        await book.close(RUN)

        assert [one.seq async for batch in slow for one in batch] == list(range(2, 5002))

    async def test_hundreds_of_followers_see_the_same(self, book: Logbook) -> None:
        followers = [asyncio.create_task(seqs(book, follow=True)) for _ in range(300)]
        await settled(*followers)

        for first in range(1, 100, 10):
            await book.write(RUN, lines(first, first + 9))
        await book.close(RUN)

        for found in await asyncio.gather(*followers):
            assert found == list(range(1, 101))

    async def test_forgetting_drops_the_lines_and_lets_followers_go(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 3))
        follower = asyncio.create_task(seqs(book, follow=True))
        await settled(follower)

        await book.forget(RUN)
        await book.forget(RUN)

        assert await follower == [1, 2, 3]
        assert await read(book) == []
        assert await book.last_seq(RUN) == 0


class TestFileLogbook(LogbookContract):
    @pytest.fixture
    def book(self, tmp_path: Path) -> Logbook:
        return FileLogbook(tmp_path)

    def file(self, root: Path) -> Path:
        return root / "ab" / f"{RUN}.log"

    @pytest.mark.parametrize("run", ["", "../../etc/passwd", str(RUN).upper(), f"{RUN}\n", f"{RUN}/x"])
    async def test_only_a_run_id_becomes_a_path(self, book: Logbook, tmp_path: Path, run: str) -> None:
        for call in (book.write(RunId(run), lines(1, 1)), read(book, RunId(run)), book.forget(RunId(run))):
            with pytest.raises(Invalid):
                await call

        assert list(tmp_path.iterdir()) == []

    async def test_a_log_survives_a_restart(self, book: Logbook, tmp_path: Path) -> None:
        await book.write(RUN, lines(1, 1000, "x" * 200))

        again = FileLogbook(tmp_path)

        assert await again.last_seq(RUN) == 1000
        await again.write(RUN, lines(999, 1001))
        assert await seqs(again) == list(range(1, 1002))

    @pytest.mark.parametrize(
        "torn", ["[4,1,", "[4", '[4,1,"2026-01-31T12:00:00+00:00","stdout",null,"ü', "\x00" * 90]
    )
    async def test_a_torn_last_line_is_ignored_and_overwritten(
        self, book: Logbook, tmp_path: Path, torn: str
    ) -> None:
        await book.write(RUN, lines(1, 3))
        with self.file(tmp_path).open("ab") as file:
            file.write(torn.encode()[:-1])

        again = FileLogbook(tmp_path)

        assert await seqs(again) == [1, 2, 3]
        assert await again.last_seq(RUN) == 3
        await again.write(RUN, [line(4)])
        assert await seqs(FileLogbook(tmp_path)) == [1, 2, 3, 4]
        assert self.file(tmp_path).read_bytes().count(b"\n") == 4

    async def test_a_log_cut_at_any_byte_is_read_to_its_last_whole_line(
        self, book: Logbook, tmp_path: Path
    ) -> None:
        await book.write(RUN, lines(1, 4))
        whole = self.file(tmp_path).read_bytes()

        for cut in range(len(whole) + 1):
            self.file(tmp_path).write_bytes(whole[:cut])
            last = whole[:cut].count(b"\n")
            again = FileLogbook(tmp_path)
            assert await again.last_seq(RUN) == last
            assert await seqs(again) == list(range(1, last + 1))
            await again.write(RUN, lines(1, 5))
            assert await seqs(FileLogbook(tmp_path)) == [1, 2, 3, 4, 5]

    async def test_a_damaged_line_hides_no_other(self, book: Logbook, tmp_path: Path) -> None:
        await book.write(RUN, lines(1, 4000, "x" * 80))
        content = bytearray(self.file(tmp_path).read_bytes())
        middle = content.index(b"\n", len(content) // 2) + 1
        content[middle : middle + 40] = bytes(40)
        self.file(tmp_path).write_bytes(content)

        again = FileLogbook(tmp_path)

        found = await seqs(again)
        assert len(found) == 3999
        assert await seqs(again, after=1990) == [seq for seq in found if seq > 1990]

    async def test_what_did_not_fit_is_taken_back_and_may_be_sent_again(
        self, book: Logbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await book.write(RUN, lines(1, 3))
        real = os.pwrite

        def nearly_full(fd: int, content: bytes, offset: int) -> int:
            if len(content) < 100:
                raise OSError(errno.ENOSPC, "full")
            return real(fd, content[:100], offset)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", nearly_full)
            with pytest.raises(OutOfSpace):
                await book.write(RUN, lines(4, 9))
        assert await seqs(book) == [1, 2, 3]

        await book.write(RUN, lines(4, 9))

        assert await seqs(FileLogbook(tmp_path)) == list(range(1, 10))

    async def test_a_cancelled_write_is_whole_or_absent(self, book: Logbook) -> None:
        for first in range(1, 401, 20):
            write = asyncio.create_task(book.write(RUN, lines(first, first + 19)))
            for _ in range(first % 7):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)

        found = await seqs(book)

        assert len(found) % 20 == 0
        await book.write(RUN, lines(401, 410))
        assert await seqs(book, after=400) == list(range(401, 411))

    async def test_nothing_is_kept_in_memory_of_runs_that_are_over(self, tmp_path: Path) -> None:
        book = FileLogbook(tmp_path)
        for number in range(20):
            run = RunId(f"018f0000-0000-7000-8000-{number:012x}")
            await book.write(run, lines(1, 10))
            await book.close(run)
            await read(book, run)

        async with asyncio.timeout(30):  # a thread lets go of its last call a moment after its answer
            while len(book._books):
                await asyncio.sleep(0.01)
                gc.collect()  # a generator that has just ended may be part of a cycle
        assert len(book._open) == 0

    async def test_followers_that_come_at_any_time_all_get_every_line_once(self, tmp_path: Path) -> None:
        book = FileLogbook(tmp_path)

        async def follow(after: int, pause: float) -> list[str]:
            found = []
            async for batch in book.read(RUN, after=after, follow=True):
                found += [f"{one.seq} {one.text}" for one in batch]
                await asyncio.sleep(pause)
            return found

        expected = [f"{seq} {seq % 7 * 'wörd'}" for seq in range(1, 8001)]
        following = []
        for first in range(1, 8001, 400):
            pause = 0.002 * (first % 3)
            following.append((first % 900, asyncio.create_task(follow(first % 900, pause))))
            await book.write(RUN, [line(seq, seq % 7 * "wörd") for seq in range(first, first + 400)])
        await book.close(RUN)

        for after, task in following:
            assert await task == expected[after:]

    async def test_what_followers_share_is_bounded_and_goes_with_the_last_of_them(
        self, tmp_path: Path
    ) -> None:
        book = FileLogbook(tmp_path)
        following = book.read(RUN, follow=True)
        beginning = asyncio.ensure_future(anext(following))
        for seq in range(1, 101):
            await book.write(RUN, [line(seq, "x" * 20_000)])
        await beginning
        shared = book._open[RUN]._recent

        assert 10 < len(shared) <= RECENT_BYTES // 20_000
        await following.aclose()  # type: ignore[attr-defined]
        assert len(shared) == 0
        await book.write(RUN, [line(101)])
        assert len(shared) == 0

    async def test_a_batch_is_bounded_in_bytes_of_the_file(self, book: Logbook) -> None:
        await book.write(RUN, lines(1, 20_000, ""))

        sizes = [len(batch) async for batch in book.read(RUN)]

        assert max(sizes) <= BATCH_BYTES // len('[1,1,"2026-01-31T12:00:00+00:00","stdout",null,""]')

    async def test_a_killed_writer_loses_nothing_that_was_written(self, tmp_path: Path) -> None:
        child = subprocess.Popen([sys.executable, "-c", _WRITES, str(tmp_path), RUN], stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            for _ in range(20):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])

        found = await seqs(FileLogbook(tmp_path))

        assert found == list(range(1, len(found) + 1))
        assert len(found) >= acknowledged


_WRITES = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from longshore.adapters.logbook import FileLogbook
from longshore.domain.logs import LogLine, Stream

async def main():
    book, at = FileLogbook(Path(sys.argv[1])), datetime.now(UTC)
    for first in range(1, 10_000_000, 100):
        await book.write(sys.argv[2], [
            LogLine(
                run=sys.argv[2], attempt=1, seq=seq, at=at, stream=Stream.STDOUT, level=None, text="x" * 500
            )
            for seq in range(first, first + 100)
        ])
        print(first + 99, flush=True)

asyncio.run(main())
"""
