# SPDX-License-Identifier: Apache-2.0
"""Follows a handler's output: two pipes in, numbered and masked lines out, in batches.

    stdout ─▶ mask ─▶ lines ─┐
                             ├─▶ pending ─▶ one batch at a time ─▶ sink
    stderr ─▶ mask ─▶ lines ─┘
                  platform ──┘

Memory stays flat whatever is printed: while too much is pending the pipes are not read, so that a slow
control plane slows the handler's prints; past the cap of a run everything is read and thrown away.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial

import structlog

from longshore.domain.errors import LongshoreError, Unavailable
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, LogLine, Stream
from longshore.domain.masking import Masks
from longshore.interceptor.lines import Line, LineSplitter, clean, cut, level_of

RUN_BYTES = 100 * 1000 * 1000
LINE_COSTS_AT_LEAST = 64
"""Lines shorter than this count as much: a hundred million empty ones are no small log."""
CHUNK_BYTES = 32 * 1024
DEAF_CHUNK_BYTES = 256 * 1024
LAST_LOOK_BYTES = 1024 * 1024
BATCH_LINES = 500
BATCH_BYTES = 256 * 1024
GATHER_S = 0.03
HELD_AT_MOST_S = 0.1
PENDING_LINES = 10_000
PENDING_BYTES = 4 * 1024 * 1024
CLOSE_WITHIN_S = 10.0
RETRY_S = (0.1, 2.0)
Sink = Callable[[Sequence[LogLine]], Awaitable[None]]
_log = structlog.get_logger()


class Tail:
    """The log of a cell on its way out, run after run. Nothing that the sink raises comes out of it.

        start ─▶ begin ─▶ platform ... ─▶ cut ─▶ flush ─▶ begin ...        the cell goes on
                                     ╰▶ drain ─▶ close                     it has ended

    What comes between two runs is nobody's.
    """

    def __init__(self, masks: Masks, now: Callable[[], datetime]) -> None:
        self._masks, self._now = masks, now
        self._sources: list[_Source] = []
        self._ended = asyncio.Event()
        self._pending: deque[LogLine] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._over = True

    @property
    def is_idle(self) -> bool:
        """Whether it follows no run."""
        return self._over

    async def start(self, *, stdout: int, stderr: int) -> None:
        """Read both pipes until their ends. The descriptors stay their owner's; duplicates are read."""
        for handle, stream in ((stdout, Stream.STDOUT), (stderr, Stream.STDERR)):
            found = partial(self._add, stream)
            self._sources.append(_Source(os.dup(handle), self._masks, found, self._done))

    def begin(self, *, run: RunId, attempt: int, first_seq: int, sink: Sink) -> None:
        """From here on what comes is a run's."""
        for source in self._sources:
            source.deaf = True
            source.look()
            source.deaf = False
        self._run, self._attempt, self._seq, self._sink = run, attempt, first_seq, sink
        self._pending_bytes = self._kept_bytes = self._kept_lines = 0
        self._full = self._over = self._paused = self._last = False
        self._resume()

    def platform(self, text: str, level: Level | None = None) -> None:
        """Add a line of ours, behind everything that has arrived so far. It is masked too."""
        masked = self._masks.mask(text.encode("utf-8", "replace")).decode("utf-8", "replace")
        lines = [Line(cut(one), level or level_of(one)) for one in clean(masked).split("\n")]
        self._append(Stream.PLATFORM, lines)

    async def drain(self, seconds: float) -> None:
        """Wait for the end of both pipes, so long at most; then nothing more is read."""
        self._hurry()
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            for source in self._sources:
                source.last_look()

    def cut(self) -> None:
        """The run is over, its cell goes on: what has been written by now is the run's, nothing later is."""
        self._last = True
        for source in self._sources:
            source.look()
            source.settle()

    async def flush(self, *, within: float = CLOSE_WITHIN_S) -> None:
        """Hand over what is left of a run. What comes after this is dropped, until the next begins."""
        self._last = True
        self._disarm()
        try:
            if self._sending is not None or self._pending:
                async with asyncio.timeout(within):
                    await self._hand_over()
        except TimeoutError:
            _log.warning("log lines lost", run=self._run, lines=len(self._pending))
        finally:
            self._give_up()
            if self._sending is not None:
                self._sending.cancel()
                await asyncio.gather(self._sending, return_exceptions=True)
                self._sending = None

    def let_go(self) -> None:
        """Read nothing more. May be called again."""
        for source in self._sources:
            source.close()

    async def close(self, *, within: float = CLOSE_WITHIN_S) -> None:
        """Read nothing more, and hand over what is left. May be called again."""
        self.let_go()
        if not self._over:
            await self.flush(within=within)

    async def _hand_over(self) -> None:
        while self._sending is not None or self._pending:
            if self._sending is None:
                self._begin_sending()
            if self._sending is not None:
                await asyncio.wait({self._sending})

    def _hurry(self) -> None:
        """No more company is waited for."""
        self._last = True
        if self._pending:
            self._begin_sending()

    # --- lines in -------------------------------------------------------------------------------------

    def _add(self, stream: Stream, lines: list[Line]) -> None:
        """Lines of the handler's; what is past the cap of the run is dropped."""
        if self._over or self._full:
            return
        size = len("\n".join([line.text for line in lines]).encode("utf-8", "replace")) + 1
        costs = max(size, LINE_COSTS_AT_LEAST * len(lines))
        if self._kept_bytes + costs > RUN_BYTES:
            self._append(stream, self._fitting(lines))
            self._fill()
            return
        self._kept_bytes += costs
        self._kept_lines += len(lines)
        self._append(stream, lines)
        if len(self._pending) > PENDING_LINES or self._pending_bytes > PENDING_BYTES:
            self._pause()

    def _fitting(self, lines: list[Line]) -> list[Line]:
        fitting = []
        for line in lines:
            self._kept_bytes += max(LINE_COSTS_AT_LEAST, len(line.text.encode("utf-8", "replace")) + 1)
            if self._kept_bytes > RUN_BYTES:
                break
            fitting.append(line)
        self._kept_lines += len(fitting)
        return fitting

    def _fill(self) -> None:
        self._full = True
        for source in self._sources:
            source.deaf = True
        self.platform(
            f"WARNING the log of a run takes {RUN_BYTES // 10**6} MB: the first {self._kept_lines} lines are"
            " kept, what the handler prints from here on is thrown away"
        )

    def _append(self, stream: Stream, lines: list[Line]) -> None:
        if self._over or not lines:
            return
        at, run, attempt = self._now(), self._run, self._attempt
        self._pending.extend(
            [
                LogLine(run, attempt, seq, at, stream, level, text)
                for seq, (text, level) in enumerate(lines, self._seq)
            ]
        )
        self._pending_bytes += sum([len(text) for text, _ in lines])
        self._seq += len(lines)
        self._arm()

    def _pause(self) -> None:
        self._paused = True
        for source in self._sources:
            source.pause()

    def _resume(self) -> None:
        self._paused = False
        for source in self._sources:
            source.resume()

    def _done(self) -> None:
        if all(source.ended for source in self._sources):
            self._ended.set()

    # --- batches out ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Lines wait for company a moment, unless there is enough of it or no time."""
        if self._sending is not None or not self._pending:
            return
        if len(self._pending) >= BATCH_LINES or (self._last and self._timer is not None):
            self._begin_sending()
        elif self._timer is None and not self._last:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._begin_sending)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_sending(self) -> None:
        self._disarm()
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
            self._sending.add_done_callback(self._stopped)

    async def _send(self) -> None:
        """Hand over batch after batch, as long as there is a whole one or no time to wait for more."""
        while self._pending:
            await self._deliver(self._batch())
            if self._paused and self._is_roomy():
                self._resume()
            if len(self._pending) < BATCH_LINES and not self._last:
                return

    def _batch(self) -> list[LogLine]:
        batch: list[LogLine] = []
        size = 0
        while self._pending and len(batch) < BATCH_LINES and size < BATCH_BYTES:
            batch.append(self._pending.popleft())
            size += len(batch[-1].text)
        self._pending_bytes -= size
        return batch

    def _is_roomy(self) -> bool:
        return len(self._pending) < PENDING_LINES // 2 and self._pending_bytes < PENDING_BYTES // 2

    async def _deliver(self, batch: list[LogLine]) -> None:
        wait, longest = RETRY_S
        while not self._over:
            try:
                await self._sink(batch)
            except Unavailable:
                await asyncio.sleep(wait)
                wait = min(2 * wait, longest)
            except LongshoreError as error:
                _log.info("log not wanted", run=self._run, reason=error.message)
                self._give_up()
                return
            else:
                return

    def _give_up(self) -> None:
        """Nobody wants lines any more: the pipes are read on, so that the handler is not held up."""
        self._over = True
        self._disarm()
        self._pending.clear()
        self._pending_bytes = 0
        for source in self._sources:
            source.deaf = True
        self._resume()

    def _stopped(self, sending: "asyncio.Task[None]") -> None:
        if self._sending is sending:
            self._sending = None
        if not sending.cancelled() and sending.exception() is not None:
            _log.error("log broken off", run=self._run, reason=repr(sending.exception()))
            self._give_up()
        self._arm()


class _Source:
    """One pipe."""

    def __init__(
        self,
        handle: int,
        masks: Masks,
        found: Callable[[list[Line]], None],
        done: Callable[[], None],
    ) -> None:
        os.set_blocking(handle, False)
        self.ended = False
        self.deaf = False
        """Whether what comes is thrown away."""
        self._handle = handle
        self._reading = False
        self._mask = masks.stream()
        self._splitter = LineSplitter()
        self._found, self._done = found, done
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None

    def resume(self) -> None:
        """Read whenever there is something."""
        if not self._reading and not self.ended:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._handle, self._read)

    def pause(self) -> None:
        """Leave it in the pipe."""
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._handle)

    def look(self) -> None:
        """Read what is there."""
        looked = 0
        while not self.ended and looked < LAST_LOOK_BYTES:
            size = self._read()
            if not size:
                break
            looked += size

    def last_look(self) -> None:
        """Read what is there, and no more."""
        self.look()
        self._end()

    def settle(self) -> None:
        """Pass on what is held back: what follows is of another run."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tail = b""
        self._pass_on(self._mask.flush())
        last = self._splitter.finish()
        if last:
            self._found(last)

    def close(self) -> None:
        """Read no more."""
        self._end()

    def _read(self) -> int:
        """Take one chunk; how many bytes there were."""
        try:
            data = os.read(self._handle, DEAF_CHUNK_BYTES if self.deaf else CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            data = b""
        if not data:
            self._end()
            return 0
        if not self.deaf:
            self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pass_on(self._mask.feed(data))
        held = self._mask.held
        self._tail = (self._tail + data)[-held:] if held else b""
        if b"\n" in self._tail or b"\r" in self._tail:
            self._timer = asyncio.get_running_loop().call_later(HELD_AT_MOST_S, self._flush)

    def _flush(self) -> None:
        """What was held back because it may be the start of a secret is shown: nothing followed.

        Only where it has the end of a line: a line without an end is not shown anyway.
        """
        self._timer = None
        self._tail = b""
        self._pass_on(self._mask.flush())

    def _pass_on(self, masked: bytes) -> None:
        lines = self._splitter.feed(masked)
        if lines:
            self._found(lines)

    def _end(self) -> None:
        if self.ended:
            return
        self.pause()
        self.ended = True
        self.settle()
        os.close(self._handle)
        self._done()
