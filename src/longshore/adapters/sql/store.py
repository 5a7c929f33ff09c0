# SPDX-License-Identifier: Apache-2.0
"""The store on SQLite: one writer with group commit, readers beside it.

    write(change) ─▶ queue ─▶ BEGIN IMMEDIATE · savepoint: change · savepoint: ... · COMMIT ─▶ answers

A change that fails rolls back to its own savepoint and is raised to its caller alone; its neighbours commit.
The commit is durable (synchronous=FULL) and is paid once for all that were waiting.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from longshore.adapters.sql.migrate import migrate
from longshore.adapters.sql.places import SqlFleet, SqlProjects, SqlSecrets, SqlTokens
from longshore.adapters.sql.runs import SqlRuns
from longshore.adapters.sql.things import SqlArtifacts, SqlPackages, SqlTasks
from longshore.domain.errors import LongshoreError, OutOfSpace, Unavailable
from longshore.ports.store import Work

T = TypeVar("T")
READERS = 4
MOST_IN_A_COMMIT = 512
BUSY_TIMEOUT_S = 5
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA wal_autocheckpoint=1000",
)


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


class SqliteStore:
    """See ports.store.Store."""

    def __init__(self, path: Path) -> None:
        """Open the database, made or brought up to date if need be; raises Unavailable naming the file."""
        self._path = path
        self._engine = _engine(path)
        with _translated(path):
            migrate(self._engine, path)
        self._writes: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._closed = False
        threads = [(self._write_on, self._writes, "store-writer")]
        threads += [(self._read_on, self._reads, f"store-reader-{number}") for number in range(READERS)]
        self._threads = [
            threading.Thread(target=target, args=(asked,), name=name, daemon=True)
            for target, asked, name in threads
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, change: Callable[[Work], T]) -> T:
        """See ports.store.Store.write."""
        return await self._ask(self._writes, change)

    async def read(self, question: Callable[[Work], T]) -> T:
        """See ports.store.Store.read."""
        return await self._ask(self._reads, question)

    async def close(self) -> None:
        """See ports.store.Store.close."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._engine.dispose()

    async def _ask(self, asked: "queue.SimpleQueue[_Asked | None]", act: Callable[[Work], T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed; the server is stopping")
        loop = asyncio.get_running_loop()
        one = _Asked(act, loop, loop.create_future())
        asked.put(one)
        value: T = await one.answer
        return value

    def _write_on(self, asked: "queue.SimpleQueue[_Asked | None]") -> None:
        with self._engine.connect() as connection:
            work = work_on(connection)
            while batch := _gathered(asked):
                self._commit(connection, work, batch)
                _settle(batch)

    def _commit(self, connection: Connection, work: Work, batch: list[_Asked]) -> None:
        """All of a batch in one transaction; when that itself fails, everyone is told so."""
        try:
            with _translated(self._path), connection.begin():
                for one in batch:
                    _try_change(connection, work, one)
        except LongshoreError as error:
            for one in batch:
                one.error = one.error or error

    def _read_on(self, asked: "queue.SimpleQueue[_Asked | None]") -> None:
        with self._engine.connect().execution_options(longshore_reads=True) as connection:
            work = work_on(connection)
            while (one := asked.get()) is not None:
                try:
                    with _translated(self._path), connection.begin():
                        one.value = one.act(work)
                except BaseException as error:  # noqa: BLE001  (handed to whoever asked)
                    one.error = error
                _settle([one])


def _try_change(connection: Connection, work: Work, one: _Asked) -> None:
    """A change in a savepoint of its own. Errors of the database itself end the whole transaction."""
    connection.exec_driver_sql("SAVEPOINT change")
    try:
        one.value = one.act(work)
    except BaseException as error:
        if isinstance(error, DBAPIError) and _is_of_the_machine(error):
            raise
        one.error = error
        connection.exec_driver_sql("ROLLBACK TO change")
    connection.exec_driver_sql("RELEASE change")


def _gathered(asked: "queue.SimpleQueue[_Asked | None]") -> list[_Asked]:
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


def _engine(path: Path) -> Engine:
    """Connections without a pool: the writer and each reader keep theirs for life."""
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": True},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # we begin and commit ourselves
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("longshore_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


_FULL = ("database or disk is full", "disk I/O error")
_BUSY = ("database is locked", "database table is locked")
_BROKEN = ("unable to open", "readonly", "malformed", "not a database", "file is encrypted")


def _is_of_the_machine(error: DBAPIError) -> bool:
    words = str(error.orig)
    return any(part in words for part in (*_FULL, *_BUSY, *_BROKEN))


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The database's own errors in our words."""
    try:
        yield
    except DBAPIError as error:
        words = str(error.orig)
        if any(part in words for part in _FULL):
            raise OutOfSpace(f"the disk of the database {path} is full; make room and try again") from error
        if any(part in words for part in _BUSY):
            raise Unavailable(
                f"another process has locked the database {path} for more than {BUSY_TIMEOUT_S} s; try again"
            ) from error
        if any(part in words for part in _BROKEN):
            raise Unavailable(f"the database {path} cannot be used: {words}") from error
        raise
