# SPDX-License-Identifier: Apache-2.0
"""Runs' logs as files: <root>/<last two digits of the run's id>/<run's id>.log

A line of a log is a line of JSON, ordered by seq:

    [12,1,"2026-01-31T12:00:00.123456+00:00","stdout","info","text"]

A writer that is killed leaves at most a torn last line. Nobody reads it, and the next write overwrites it.
Readers keep an offset and nothing else: each goes at its own speed, and all wait for the same event.
"""

import asyncio
import contextlib
import json
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from longshore.adapters.disk import disk_errors, in_thread, leave_room, write_all
from longshore.domain.errors import Invalid
from longshore.domain.ids import RunId
from longshore.domain.logs import Level, LogLine, Stream

BATCH_BYTES = 64 * 1024
RECENT_BYTES = 512 * 1024
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
        offset = await in_thread(book.find, after) if after > 0 else 0
        if not follow:
            async for batch in self._batches(book, offset, after, book.size):
                yield batch
            return
        with book.followed():
            async for batch in self._batches(book, offset, after, None):
                yield batch

    async def _batches(
        self, book: "_Book", offset: int, after: int, end: int | None
    ) -> AsyncIterator[Sequence[LogLine]]:
        """From an offset on, up to an end or to that of the log."""
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


class _Batch(NamedTuple):
    """Lines, and where they lie in the file."""

    start: int
    end: int
    lines: Sequence[LogLine]


class _Book:
    """One run's log. Everything up to `size` is whole lines; `load`, `append` and `remove` take the lock."""

    __slots__ = (
        "__weakref__",
        "_followers",
        "_path",
        "_recent",
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
        self._followers = 0
        self._recent: deque[_Batch] = deque()
        """The newest batches while somebody follows, so that they are not read from the file again."""
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
        content = _encoded(fresh)
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
        self._remember(_Batch(self.size, self.size + len(content), fresh))
        self.last_seq, self.size = fresh[-1].seq, self.size + len(content)

    def _remember(self, batch: "_Batch") -> None:
        if self._followers:
            self._recent.append(batch)
        while self._recent and batch.end - self._recent[0].start > RECENT_BYTES:
            self._recent.popleft()

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """While the block runs somebody waits for what is new."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._recent.clear()

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
        self.size, self.last_seq, self.loaded = 0, 0, True
        self._recent.clear()

    async def batch(self, offset: int) -> tuple[Sequence[LogLine], int]:
        """Lines from an offset on, and the offset after them."""
        upto = self.size
        for recent in list(self._recent):
            if recent.start == offset:
                return recent.lines, recent.end
            if recent.start > offset:
                upto = min(upto, recent.start)
        return await in_thread(self._read, offset, upto)

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
        return _decoded(self._run, content), end

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


_STREAMS = {stream.value: stream for stream in Stream}
_LEVELS: dict[str | None, Level | None] = {None: None, **{level.value: level for level in Level}}


def _encoded(lines: Sequence[LogLine]) -> bytes:
    """A line of JSON each. What stands between number and text is the same for hundreds in a row, and a text
    takes no encoder but the one for strings."""
    rows, same = [], None
    for _, attempt, seq, at, stream, level, text in lines:
        if (attempt, at, stream, level) != same:
            same = attempt, at, stream, level
            named = "null" if level is None else f'"{level.value}"'
            middle = f'{attempt},"{at.isoformat()}","{stream.value}",{named}'
        rows.append(f"[{seq},{middle},{encode_basestring(text)}]\n")
    return "".join(rows).encode("utf-8", "surrogatepass")


def _decoded(run: RunId, raw: bytes) -> list[LogLine]:
    """The whole lines among these. They are read as one text of JSON, and one by one where that is none."""
    try:
        rows = json.loads(b"[%s]" % raw.rstrip(b"\n").replace(b"\n", b","))
        found = list(_lines(run, rows))
    except (ValueError, TypeError, KeyError):
        found = []
    if len(found) == raw.count(b"\n"):
        return found
    return [line for one in raw.split(b"\n") for line in _whole(run, one)]


def _whole(run: RunId, raw: bytes) -> Sequence[LogLine]:
    """The line; nothing for one that is not whole."""
    try:
        return list(_lines(run, [json.loads(raw.decode("utf-8", "surrogatepass"))]))
    except (ValueError, TypeError, KeyError):
        return ()


def _lines(run: RunId, rows: Iterable[Sequence[Any]]) -> Iterator[LogLine]:
    said, at = None, datetime.min
    for seq, attempt, when, stream, level, text in rows:
        if when != said:
            said, at = when, datetime.fromisoformat(when)
        yield LogLine(run, attempt, seq, at, _STREAMS[stream], _LEVELS[level], text)


def _last_line(fd: int) -> tuple[int, int]:
    """Where the last whole line ends, and its seq; (0, 0) when there is none."""
    end = _line_end(fd, os.fstat(fd).st_size)
    while end > 0:
        start = _line_end(fd, end - 1)
        for line in _whole(RunId(""), os.pread(fd, end - start, start)):
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
