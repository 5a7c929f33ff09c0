# SPDX-License-Identifier: Apache-2.0
"""The store on SQLite: one writer with group commit, questions beside it.

    write(change) ─▶ queue ─▶ BEGIN IMMEDIATE · savepoint: change · savepoint: ... · COMMIT ─▶ answers

A change that fails rolls back to its own savepoint and is raised to its caller alone; its neighbours commit.
The commit is durable (synchronous=FULL) and is paid once for all that were waiting.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from longshore.adapters.sql.artifacts import SqlArtifacts
from longshore.adapters.sql.ballast import Ballast
from longshore.adapters.sql.engine import open_engine, raw_of, reader, writer
from longshore.adapters.sql.errors import DiskFull, in_our_words, translated
from longshore.adapters.sql.fleet import SqlFleet
from longshore.adapters.sql.logs import SqlShortLogs
from longshore.adapters.sql.migrate import migrate
from longshore.adapters.sql.packages import SqlPackages
from longshore.adapters.sql.projects import SqlProjects
from longshore.adapters.sql.runs import IS_SHORT_OF_ROOM, SqlRuns
from longshore.adapters.sql.secrets import SqlSecrets
from longshore.adapters.sql.statements import HAS_NEW_EDITION
from longshore.adapters.sql.tasks import SqlTasks
from longshore.adapters.sql.tokens import SqlTokens
from longshore.domain.errors import Unavailable
from longshore.ports.store import Work

T = TypeVar("T")
MOST_IN_A_COMMIT = 512
EDITION_HOLDS_S = 0.05
_EDITION = "SELECT number FROM editions"


@dataclass(frozen=True, slots=True)
class SqlWork:
    """See ports.store.Work: everything one transaction reaches."""

    projects: SqlProjects
    tokens: SqlTokens
    tasks: SqlTasks
    packages: SqlPackages
    artifacts: SqlArtifacts
    secrets: SqlSecrets
    runs: SqlRuns
    short_logs: SqlShortLogs
    fleet: SqlFleet


def work_on(connection: Connection) -> Work:
    """The repositories over one connection."""
    return SqlWork(
        projects=SqlProjects(connection),
        tokens=SqlTokens(connection),
        tasks=SqlTasks(connection),
        packages=SqlPackages(connection),
        artifacts=SqlArtifacts(connection),
        secrets=SqlSecrets(connection),
        runs=SqlRuns(connection),
        short_logs=SqlShortLogs(connection),
        fleet=SqlFleet(connection),
    )


@dataclass(slots=True)
class _Asked:
    """A function that waits for its thread, and where its answer goes."""

    act: Callable[[Work], Any]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    value: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Hand the answer over, in the caller's own loop. A caller that was cancelled wants none."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.value)
        else:
            self.answer.set_exception(self.error)


Asked = queue.SimpleQueue[_Asked | None]


class SqliteStore:
    """See ports.store.Store."""

    def __init__(self, path: Path, *, ballast: Ballast | None = None) -> None:
        """Open the database, made or brought up to date if need be; raises Unavailable naming the file. It is
        read from the thread of one event loop. `ballast` is what it may drop when its disk is full."""
        self._path = path
        self._ballast = ballast
        self._closed = False
        self._edition = 0
        self._edition_until = 0.0
        self._writes: Asked = queue.SimpleQueue()
        self._engine = open_engine(path)
        with translated(path), contextlib.ExitStack() as opened:
            migrate(self._engine, path)
            if ballast is not None:
                ballast.take()
            writes = opened.enter_context(writer(self._engine))
            self._reading = opened.enter_context(reader(self._engine))
            self._opened = opened.pop_all()
        self._questions = work_on(self._reading)
        self._writer = threading.Thread(
            target=self._write_on, args=(writes,), name="store-writer", daemon=True
        )
        self._writer.start()

    async def write(self, change: Callable[[Work], T]) -> T:
        """See ports.store.Store.write."""
        self._must_be_open()
        loop = asyncio.get_running_loop()
        one = _Asked(change, loop, loop.create_future())
        self._writes.put(one)
        value: T = await one.answer
        return value

    async def read(self, question: Callable[[Work], T]) -> T:
        """See ports.store.Store.read. It is asked right here, in the loop's own thread: a question takes a
        tenth of a millisecond, and the way to another thread and back costs more than that under load."""
        self._must_be_open()
        with translated(self._path), self._reading.begin():
            return question(self._questions)

    async def edition(self) -> int:
        """See ports.store.Store.edition. Looking takes the lock that Python's threads share, so it is done
        after a change of ours, and twenty times a second for those of other processes."""
        self._must_be_open()
        now = time.monotonic()
        if self._edition_until < now:
            self._edition_until = now + EDITION_HOLDS_S
            with translated(self._path):
                self._edition = raw_of(self._reading).execute(_EDITION).fetchall()[0][0]
        return self._edition

    @property
    def is_short(self) -> bool:
        """See ports.store.Store.is_short."""
        return self._ballast is not None and self._ballast.is_short

    async def close(self) -> None:
        """See ports.store.Store.close. Whoever closes a second time waits as long as the first."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._writer.join()
        self._opened.close()

    def _must_be_open(self) -> None:
        if self._closed:
            raise Unavailable("the database is closed; the server is stopping")

    def _write_on(self, connection: Connection) -> None:
        work = work_on(connection)
        while batch := _gathered(self._writes):
            self._commit(connection, work, batch)
            _settle(batch)

    def _commit(self, connection: Connection, work: Work, batch: list[_Asked]) -> None:
        """All of a batch; on a full disk once more, with the room that was kept for this."""
        if self._ballast is None:
            self._transact(connection, work, batch)
            return
        self._ballast.look()
        connection.info[IS_SHORT_OF_ROOM] = self._ballast.is_short
        self._transact(connection, work, batch)
        starved = [one for one in batch if isinstance(one.error, DiskFull)]
        if starved and self._ballast.drop():
            connection.info[IS_SHORT_OF_ROOM] = True
            for one in starved:
                one.error = None
            self._transact(connection, work, starved)

    def _transact(self, connection: Connection, work: Work, batch: list[_Asked]) -> None:
        """All of a batch in one transaction; when that itself fails, everyone is told so."""
        try:
            with connection.begin():
                for one in batch:
                    self._try(connection, work, one)
            if connection.info.pop(HAS_NEW_EDITION, False):
                self._edition_until = 0.0
        except BaseException as error:  # noqa: BLE001  (handed to whoever asked; the writer must go on)
            for one in batch:
                one.error = one.error or in_our_words(error, self._path)

    def _try(self, connection: Connection, work: Work, one: _Asked) -> None:
        """A change in a savepoint of its own. When it cost us the whole transaction, that is raised."""
        raw = raw_of(connection)
        raw.execute("SAVEPOINT change")
        try:
            one.value = one.act(work)
        except BaseException as error:
            if not raw.in_transaction:
                raise
            one.error = in_our_words(error, self._path)
            raw.execute("ROLLBACK TO change")
        raw.execute("RELEASE change")


def _gathered(asked: Asked) -> list[_Asked]:
    """Everything that waits, at least one; empty at the end of the store."""
    first = asked.get()
    batch = [] if first is None else [first]
    while batch and len(batch) < MOST_IN_A_COMMIT:
        try:
            one = asked.get_nowait()
        except queue.Empty:
            break
        if one is None:
            asked.put(None)
            break
        batch.append(one)
    return batch


def _settle(batch: list[_Asked]) -> None:
    """One wake-up of each loop for the whole batch."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Asked]] = {}
    for one in batch:
        by_loop.setdefault(one.loop, []).append(one)
    for loop, of_loop in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everyone who waited
            loop.call_soon_threadsafe(_settle_all, of_loop)


def _settle_all(asked: list[_Asked]) -> None:
    for one in asked:
        one.settle()
