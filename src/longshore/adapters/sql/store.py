# SPDX-License-Identifier: Apache-2.0
"""The store on SQLite: one writer with group commit, readers beside it.

    write(change) ─▶ queue ─▶ BEGIN IMMEDIATE · savepoint: change · savepoint: ... · COMMIT ─▶ answers

A change that fails rolls back to its own savepoint and is raised to its caller alone; its neighbours commit.
The commit is durable (synchronous=FULL) and is paid once for all that were waiting.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from longshore.adapters.sql.artifacts import SqlArtifacts
from longshore.adapters.sql.engine import open_engine, raw_of, reader, writer
from longshore.adapters.sql.errors import in_our_words, translated
from longshore.adapters.sql.fleet import SqlFleet
from longshore.adapters.sql.migrate import migrate
from longshore.adapters.sql.packages import SqlPackages
from longshore.adapters.sql.projects import SqlProjects
from longshore.adapters.sql.runs import SqlRuns
from longshore.adapters.sql.secrets import SqlSecrets
from longshore.adapters.sql.tasks import SqlTasks
from longshore.adapters.sql.tokens import SqlTokens
from longshore.domain.errors import Unavailable
from longshore.ports.store import Work

T = TypeVar("T")
READERS = 4
MOST_IN_A_COMMIT = 512


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


Asked = queue.SimpleQueue[_Asked | None]


class SqliteStore:
    """See ports.store.Store."""

    def __init__(self, path: Path) -> None:
        """Open the database, made or brought up to date if need be; raises Unavailable naming the file."""
        self._path = path
        self._closed = False
        self._writes: Asked = queue.SimpleQueue()
        self._reads: Asked = queue.SimpleQueue()
        self._engine = open_engine(path)
        with translated(path), contextlib.ExitStack() as opened:
            migrate(self._engine, path)
            writes = opened.enter_context(writer(self._engine))
            reads = [opened.enter_context(reader(self._engine)) for _ in range(READERS)]
            self._opened = opened.pop_all()
        self._threads = [
            threading.Thread(target=self._write_on, args=(writes,), name="store-writer", daemon=True),
            *(
                threading.Thread(target=self._read_on, args=(one,), name=f"store-reader-{n}", daemon=True)
                for n, one in enumerate(reads)
            ),
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
        """See ports.store.Store.close. Whoever closes a second time waits as long as the first."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            for _ in range(READERS):
                self._reads.put(None)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        for thread in self._threads:
            thread.join()
        self._opened.close()

    async def _ask(self, asked: Asked, act: Callable[[Work], T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed; the server is stopping")
        loop = asyncio.get_running_loop()
        one = _Asked(act, loop, loop.create_future())
        asked.put(one)
        value: T = await one.answer
        return value

    def _write_on(self, connection: Connection) -> None:
        work = work_on(connection)
        while batch := _gathered(self._writes):
            self._commit(connection, work, batch)
            _settle(batch)

    def _commit(self, connection: Connection, work: Work, batch: list[_Asked]) -> None:
        """All of a batch in one transaction; when that itself fails, everyone is told so."""
        try:
            with connection.begin():
                for one in batch:
                    self._try(connection, work, one)
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

    def _read_on(self, connection: Connection) -> None:
        work = work_on(connection)
        while (one := self._reads.get()) is not None:
            try:
                with connection.begin():
                    one.value = one.act(work)
            except BaseException as error:  # noqa: BLE001  (handed to whoever asked)
                one.error = in_our_words(error, self._path)
            _settle([one])


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
