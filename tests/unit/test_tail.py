# SPDX-License-Identifier: Apache-2.0
"""A handler's output on its way to the log."""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from longshore.domain.errors import Conflict, Unavailable
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, LogLine, Stream
from longshore.domain.masking import Masks
from longshore.interceptor import tail as tail_module
from longshore.interceptor.tail import BATCH_LINES, Tail

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Log:
    """Where the lines arrive; may be slow, out of reach, or unwilling."""

    lines: list[LogLine] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    count_only: bool = False
    count: int = 0
    delay_s: float = 0.0
    busy: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, lines: Sequence[LogLine]) -> None:
        assert not self.busy, "one batch at a time"
        self.busy = True
        try:
            await asyncio.sleep(self.delay_s)
            if self.fails:
                raise self.fails.pop(0)
        finally:
            self.busy = False
        self.batches.append(len(lines))
        self.count += len(lines)
        if not self.count_only:
            self.lines.extend(lines)
        self.arrived.set()

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


@dataclass
class Pipes:
    """Both of a handler's pipes, written by hand."""

    tail: Tail
    out: int
    err: int

    def end(self) -> None:
        """The handler is gone."""
        for handle in (self.out, self.err):
            with contextlib.suppress(OSError):
                os.close(handle)


@contextlib.asynccontextmanager
async def followed(log: Log, *masks: str, first_seq: int = 1) -> AsyncIterator[Pipes]:
    tail = Tail(Masks(masks), lambda: NOW)
    (out_read, out), (err_read, err) = os.pipe(), os.pipe()
    await tail.start(stdout=out_read, stderr=err_read)
    tail.begin(run=RunId("run"), attempt=2, first_seq=first_seq, sink=log.write)
    os.close(out_read)  # what is read are duplicates
    os.close(err_read)
    pipes = Pipes(tail, out, err)
    try:
        yield pipes
    finally:
        pipes.end()
        await tail.close(within=1)


async def ended(pipes: Pipes) -> None:
    pipes.end()
    await pipes.tail.drain(5)
    await pipes.tail.close()


async def test_lines_are_numbered_in_the_order_of_their_arrival() -> None:
    log = Log()
    async with followed(log, first_seq=41) as pipes:
        pipes.tail.platform("START RequestId: run Version: $LATEST")
        os.write(pipes.out, b"hello\nERROR bad\n")
        await log.arrived.wait()
        await asyncio.sleep(0.05)
        os.write(pipes.err, b"careful\n")
        pipes.end()
        await pipes.tail.drain(5)
        pipes.tail.platform("REPORT RequestId: run\tDuration: 1.00 ms\t")
        await pipes.tail.close()

    assert [(line.seq, line.stream, line.level, line.text) for line in log.lines] == [
        (41, Stream.PLATFORM, None, "START RequestId: run Version: $LATEST"),
        (42, Stream.STDOUT, None, "hello"),
        (43, Stream.STDOUT, Level.ERROR, "ERROR bad"),
        (44, Stream.STDERR, None, "careful"),
        (45, Stream.PLATFORM, None, "REPORT RequestId: run\tDuration: 1.00 ms\t"),
    ]
    assert {(line.run, line.attempt, line.at) for line in log.lines} == {("run", 2, NOW)}


async def test_a_line_is_seen_while_the_handler_still_runs_and_half_a_line_is_not() -> None:
    log = Log()
    async with followed(log) as pipes:
        os.write(pipes.out, b"seen\nprompt: ")
        await asyncio.wait_for(log.arrived.wait(), 5)
        await asyncio.sleep(0.2)
        assert log.texts == ["seen"]

        await ended(pipes)
        assert log.texts == ["seen", "prompt: "]


async def test_secrets_are_masked_however_they_are_cut_and_in_our_own_lines() -> None:
    log = Log()
    async with followed(log, "hunter2hunter2") as pipes:
        pipes.tail.platform("WARNING hunter2hunter2")
        for piece in (b"pass: hun", b"ter2hunt", b"er2 end\n"):
            os.write(pipes.out, piece)
            await asyncio.sleep(0.15)
        await ended(pipes)

    assert log.texts == ["WARNING ***", "pass: *** end"]


async def test_a_line_that_may_begin_a_secret_of_several_lines_is_shown_when_nothing_follows() -> None:
    log = Log()
    async with followed(log, "begin\nmiddle\nend") as pipes:
        os.write(pipes.out, b"begin\n")
        await asyncio.wait_for(log.arrived.wait(), 5)

        assert log.texts == ["begin"]


async def test_batches_are_no_larger_than_promised() -> None:
    log = Log()
    async with followed(log) as pipes:
        for _ in range(20):
            os.write(pipes.out, b"x\n" * 1000)
            await asyncio.sleep(0)
        await ended(pipes)

    assert len(log.lines) == 20_000
    assert max(log.batches) <= BATCH_LINES
    assert [line.seq for line in log.lines] == list(range(1, 20_001))


async def test_a_slow_log_slows_the_handler_and_not_the_agents_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_module, "PENDING_LINES", 1000)
    log = Log(delay_s=0.02)
    async with followed(log) as pipes:
        os.set_blocking(pipes.out, False)
        written, refused, line = 0, 0, b"y" * 99 + b"\n"
        while refused < 3:
            try:
                written += os.write(pipes.out, line * 100)
                refused = 0
            except BlockingIOError:
                refused += 1
            await asyncio.sleep(0.002)
        assert written < 10 * 2**20
        os.set_blocking(pipes.out, True)
        await ended(pipes)

    assert sum(len(text) + 1 for text in log.texts) in (written, written + 1)


async def test_a_log_out_of_reach_gets_everything_once_it_is_back() -> None:
    log = Log(fails=[Unavailable("no"), Unavailable("not yet")])
    async with followed(log) as pipes:
        os.write(pipes.out, b"one\n")
        await asyncio.sleep(0.1)
        os.write(pipes.out, b"two\n")
        await ended(pipes)

    assert log.texts == ["one", "two"]


@pytest.mark.parametrize("error", [Conflict("the lease is over"), RuntimeError("a bug")])
async def test_a_log_that_wants_no_more_is_left_alone_and_the_handler_not_held_up(error: Exception) -> None:
    log = Log(fails=[error])
    async with followed(log) as pipes:
        os.write(pipes.out, b"one\n")
        await asyncio.sleep(0.1)
        flood = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import os\nfor _ in range(400): os.write(1, b'z' * 65536)",
            stdout=pipes.out,
        )
        assert await asyncio.wait_for(flood.wait(), 20) == 0
        flood._transport.close()  # type: ignore[attr-defined]
        pipes.tail.platform("END")
        await ended(pipes)

    assert log.lines == []


async def test_draining_gives_up_on_a_pipe_that_somebody_still_holds() -> None:
    log = Log()
    async with followed(log) as pipes:
        os.write(pipes.out, b"last words")
        started = time.monotonic()
        await pipes.tail.drain(0.2)
        await pipes.tail.close()

        assert time.monotonic() - started < 5
        assert log.texts == ["last words"]


async def test_closing_twice_is_harmless_and_nothing_is_added_after() -> None:
    log = Log()
    async with followed(log) as pipes:
        await ended(pipes)
        await pipes.tail.close()
        pipes.tail.platform("too late")
        await asyncio.sleep(0.05)

    assert log.lines == []


async def test_a_log_that_stays_out_of_reach_does_not_hold_the_end_up() -> None:
    log = Log(fails=[Unavailable("no")] * 1000)
    async with followed(log) as pipes:
        os.write(pipes.out, b"lost\n")
        pipes.end()
        await pipes.tail.drain(1)
        await asyncio.wait_for(pipes.tail.close(within=0.2), 5)

    assert log.lines == []


async def test_a_line_of_ours_with_several_lines_becomes_several() -> None:
    log = Log()
    async with followed(log) as pipes:
        pipes.tail.platform("FAILED ValueError: one\ntwo\x00", Level.ERROR)
        await ended(pipes)

    assert [(line.text, line.level) for line in log.lines] == [
        ("FAILED ValueError: one", Level.ERROR),
        ("two", Level.ERROR),
    ]


async def test_a_gigabyte_ends_at_the_cap_with_a_word_and_leaves_memory_flat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_module, "RUN_BYTES", 5_000_000)
    log = Log(count_only=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = "import os\ndata = (b'q' * 99 + b'\\n') * 655\nfor _ in range(16_000): os.write(1, data)"
    async with followed(log) as pipes:
        flood = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=pipes.out)
        assert await asyncio.wait_for(flood.wait(), 60) == 0
        flood._transport.close()  # type: ignore[attr-defined]
        log.count_only = False
        pipes.end()
        await pipes.tail.drain(5)
        pipes.tail.platform("END RequestId: run")
        await pipes.tail.close()

    assert log.texts[-1] == "END RequestId: run"
    assert 49_000 < log.count < 50_003
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


async def test_the_cap_says_how_much_was_kept_and_counts_empty_lines_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_module, "RUN_BYTES", 1_000_000)
    log = Log()
    async with followed(log) as pipes:
        for _ in range(10):
            os.write(pipes.out, b"\n" * 10_000)
            await asyncio.sleep(0.02)
        await ended(pipes)

    *kept, last = log.lines
    assert len(kept) == 1_000_000 // 64
    assert last.stream is Stream.PLATFORM
    assert last.level is Level.WARNING
    assert "1 MB" in last.text
    assert f"{len(kept)} lines" in last.text


async def test_a_hundred_thousand_lines_pass_quickly() -> None:
    log = Log()
    code = "import os\ndata = (b'w' * 99 + b'\\n') * 500\nfor _ in range(200): os.write(1, data)"
    async with followed(log, "a-secret-of-some-length", "another secret") as pipes:
        with subprocess.Popen([sys.executable, "-c", code], stdout=pipes.out):
            pipes.end()
            await pipes.tail.drain(60)
            await pipes.tail.close()

    assert len(log.lines) == 100_000


async def test_one_run_after_another_and_what_comes_in_between_is_nobodys() -> None:
    first, second = Log(), Log()
    async with followed(first, "swordfish") as pipes:
        os.write(pipes.out, b"of the first\nhalf a line, and half a sword")
        pipes.tail.cut()
        pipes.tail.platform("END")
        await pipes.tail.flush()
        os.write(pipes.out, b"late\n" + b"x" * 20_000)

        pipes.tail.begin(run=RunId("other"), attempt=1, first_seq=1, sink=second.write)
        os.write(pipes.out, b"of the second\n")
        await asyncio.wait_for(second.arrived.wait(), 5)
        await ended(pipes)

    assert first.texts == ["of the first", "half a line, and half a sword", "END"]
    assert [(line.run, line.seq, line.text) for line in second.lines] == [("other", 1, "of the second")]


async def test_a_log_that_nobody_takes_in_time_is_not_the_next_runs() -> None:
    slow, second = Log(delay_s=30), Log()
    async with followed(slow) as pipes:
        os.write(pipes.out, b"of the first\n")
        pipes.tail.cut()
        await pipes.tail.flush(within=0.05)

        pipes.tail.begin(run=RunId("other"), attempt=1, first_seq=1, sink=second.write)
        os.write(pipes.out, b"of the second\n")
        await asyncio.wait_for(second.arrived.wait(), 5)

    assert second.texts == ["of the second"]
