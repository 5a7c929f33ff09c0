# SPDX-License-Identifier: Apache-2.0
"""Runs' logs as files: <root>/<last two digits of the run's id>/<run's id>.log

A line of a log is a line of JSON, ordered by seq:

    [12,1,"2026-01-31T12:00:00.123456+00:00","stdout","info","text"]

A writer that is killed leaves at most a torn last line. Nobody reads it, and the next write overwrites it.
Readers keep an offset and nothing else: each goes at its own speed, and all wait for the same event.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from weakref import WeakValueDictionary

from longshore.adapters.disk import disk_errors, in_thread, leave_room, write_all
from longshore.domain.errors import Invalid
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, LogLine, Stream

BATCH_BYTES = 64 * 1024
SMALL_BATCH = 4 * 1024
"""Characters of text: so little is written here and now, into the system's memory. The way to a thread and
back takes longer than that."""
REMEMBERED_ENDS = 10_000
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FileLogbook:
    """Implements ports.logbook.Logbook for the one process that writes under `root`.

    An end (`close`) is remembered for the last 10,000 runs: it is for a follower that came a moment too
    late, not for the record, which is the run's row.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._books: WeakValueDictionary[RunId, _Book] = WeakValueDictionary()
        self._open: dict[RunId, _Book] = {}
        self._ended: dict[RunId, None] = {}
        with disk_errors(f"use {root}"):
            root.mkdir(parents=True, exist_ok=True)

    async def write(self, run: RunId, lines: Sequence[LogLine]) -> None:
        """Append in one call to the system, which has the lines when this returns, whatever becomes of us."""
        if not lines:
            return
        book = self._book(run)
        if not book.ended:
            self._open[run] = book
        async with book.lock:
            try:
                if sum(len(line.text) for line in lines) < SMALL_BATCH:
                    book.append(lines)
                else:
                    await in_thread(book.append, lines)
            finally:
                book.ring()

    async def last_seq(self, run: RunId) -> int:
        """From the end of the file."""
        book = self._book(run)
        await self._loaded(book)
        return book.last_seq

    async def close(self, run: RunId) -> None:
        """Wait for a write that is under way, then let the followers go."""
        book = self._book(run)
        async with book.lock:
            self._end(run, book)

    async def read(
        self, run: RunId, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[Sequence[LogLine]]:
        """Batches of about 64 KiB. A log that nobody has begun to write has no lines; a follower waits."""
        book = self._book(run)
        await self._loaded(book)
        offset = await in_thread(book.find, after)
        end = None if follow else book.size
        while True:
            changed = book.changed
            if offset < (book.size if end is None else min(end, book.size)):
                lines, offset = await book.batch(offset)
                fresh = [line for line in lines if line.seq > after]
                if fresh:
                    after = fresh[-1].seq
                    yield fresh
            elif end is not None or book.ended:
                return
            else:
                await changed.wait()

    async def forget(self, run: RunId) -> None:
        """Remove the file; followers end."""
        book = self._book(run)
        async with book.lock:
            await in_thread(book.remove)
            self._end(run, book)

    def _book(self, run: RunId) -> "_Book":
        """The one book of a run, shared by its writer and all its followers for as long as there are any."""
        book = self._books.get(run)
        if book is None:
            if not _RUN_ID.fullmatch(run):
                raise Invalid(f"{run[:80]!r} is not a run's id", field="run")
            book = _Book(run, self._root / run[-2:] / f"{run}.log", ended=run in self._ended)
            self._books[run] = book
        return book

    async def _loaded(self, book: "_Book") -> None:
        async with book.lock:
            if not book.loaded:
                await in_thread(book.load)

    def _end(self, run: RunId, book: "_Book") -> None:
        self._open.pop(run, None)
        self._ended[run] = None
        if len(self._ended) > REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]
        book.ended = True
        book.ring()


class _Book:
    """One run's log. Everything up to `size` is whole lines; `load`, `append` and `remove` take the lock."""

    __slots__ = (
        "__weakref__",
        "_latest",
        "_path",
        "_run",
        "changed",
        "ended",
        "last_seq",
        "loaded",
        "lock",
        "size",
    )

    def __init__(self, run: RunId, path: Path, *, ended: bool) -> None:
        self._run = run
        self._path = path
        self._latest: tuple[int, int, Sequence[LogLine]] = (0, 0, ())
        """The newest batch and where it lies, so that many followers do not read it from the file."""
        self.lock = asyncio.Lock()
        self.changed = asyncio.Event()
        self.ended = ended
        self.loaded = False
        self.size = 0
        self.last_seq = 0

    def ring(self) -> None:
        """Wake all who wait for a change, and have the next ones wait for the next."""
        rung, self.changed = self.changed, asyncio.Event()
        rung.set()

    def load(self) -> None:
        """Find the last whole line."""
        if self.loaded:
            return
        with disk_errors("read the log"):
            try:
                fd = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                self.loaded = True
                return
            try:
                self.size, self.last_seq = _last_line(fd)
            finally:
                os.close(fd)
        self.loaded = True

    def append(self, lines: Sequence[LogLine]) -> None:
        """Write the lines that are new. What could not be written whole is taken back."""
        self.load()
        fresh = self._fresh(lines)
        if not fresh:
            return
        content = b"".join(_encoded(line) for line in fresh)
        with disk_errors("write the log"):
            fd = self._opened()
            try:
                leave_room(fd, len(content))
                os.ftruncate(fd, self.size)
                write_all(fd, content, self.size)
            except OSError:
                os.ftruncate(fd, self.size)
                raise
            finally:
                os.close(fd)
        end = self.size + len(content)
        self._latest = (self.size, end, fresh) if len(content) <= BATCH_BYTES else (0, 0, ())
        self.last_seq, self.size = fresh[-1].seq, end

    def _fresh(self, lines: Sequence[LogLine]) -> list[LogLine]:
        fresh: list[LogLine] = []
        last = self.last_seq
        for line in sorted(lines, key=lambda line: line.seq):
            if line.seq > last:
                fresh.append(line)
                last = line.seq
        return fresh

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            self._path.parent.mkdir(exist_ok=True)
            return os.open(self._path, flags, 0o600)

    def remove(self) -> None:
        """Drop the file and what is known of it."""
        with disk_errors("drop the log"):
            self._path.unlink(missing_ok=True)
        self.size, self.last_seq, self._latest, self.loaded = 0, 0, (0, 0, ()), True

    async def batch(self, offset: int) -> tuple[Sequence[LogLine], int]:
        """Lines from an offset on, and the offset after them."""
        start, end, lines = self._latest
        if start == offset and lines:
            return lines, end
        return await in_thread(self._read, offset, self.size)

    def _read(self, offset: int, size: int) -> tuple[Sequence[LogLine], int]:
        """About 64 KiB of whole lines, or one that is longer. A damaged line is left out."""
        with disk_errors("read the log"):
            try:
                fd = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                return (), size
            try:
                end = _line_end(fd, min(size, offset + BATCH_BYTES))
                if end <= offset:
                    end = _next_line(fd, offset, size)
                content = os.pread(fd, end - offset, offset)
            finally:
                os.close(fd)
        found = (_decoded(self._run, line) for line in content.split(b"\n"))
        return [line for line in found if line is not None], end

    def find(self, after: int) -> int:
        """An offset with all lines above `after` behind it, and not much else: by halving the file."""
        low, high = 0, self.size
        if after <= 0 or high <= BATCH_BYTES:
            return low
        if after >= self.last_seq:
            return high
        with disk_errors("read the log"):
            fd = os.open(self._path, os.O_RDONLY)
            try:
                while high - low > BATCH_BYTES:
                    middle = (low + high) // 2
                    start = _next_line(fd, middle, high)
                    if start < high and _seq_at(fd, start) <= after:
                        low = start
                    else:
                        high = middle
            finally:
                os.close(fd)
        return low


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_STREAMS = {stream.value: stream for stream in Stream}
_LEVELS: dict[str | None, Level | None] = {None: None, **{level.value: level for level in Level}}


def _encoded(line: LogLine) -> bytes:
    level = None if line.level is None else line.level.value
    row = [line.seq, line.attempt, line.at.isoformat(), line.stream.value, level, line.text]
    return _ENCODE(row).encode("utf-8", "surrogatepass") + b"\n"


def _decoded(run: RunId, raw: bytes) -> LogLine | None:
    """The line, or None for one that is not whole."""
    try:
        seq, attempt, at, stream, level, text = json.loads(raw.decode("utf-8", "surrogatepass"))
        return LogLine(
            run=run,
            attempt=attempt,
            seq=seq,
            at=datetime.fromisoformat(at),
            stream=_STREAMS[stream],
            level=_LEVELS[level],
            text=text,
        )
    except (ValueError, TypeError, KeyError):
        return None


def _last_line(fd: int) -> tuple[int, int]:
    """Where the last whole line ends, and its seq; (0, 0) when there is none."""
    end = _line_end(fd, os.fstat(fd).st_size)
    while end > 0:
        start = _line_end(fd, end - 1)
        line = _decoded(RunId(""), os.pread(fd, end - start, start))
        if line is not None:
            return end, line.seq
        end = start
    return 0, 0


def _line_end(fd: int, before: int) -> int:
    """The offset after the last newline before an offset; 0 when there is none."""
    while before > 0:
        start = max(0, before - BATCH_BYTES)
        found = os.pread(fd, before - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        before = start
    return 0


def _next_line(fd: int, offset: int, limit: int) -> int:
    """The offset after the first newline from an offset on; `limit` when there is none before it."""
    while offset < limit:
        content = os.pread(fd, min(BATCH_BYTES, limit - offset), offset)
        found = content.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(content) or limit
    return limit


def _seq_at(fd: int, offset: int) -> int:
    """The seq of the line that starts there; a damaged one counts as very late, so that no line is missed."""
    found = re.match(rb"\[(\d{1,18}),", os.pread(fd, 24, offset))
    return int(found[1]) if found else 1 << 62
