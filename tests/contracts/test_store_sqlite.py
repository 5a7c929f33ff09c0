# SPDX-License-Identifier: Apache-2.0
"""What the store on SQLite promises of its file, its threads and its neighbours."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.contracts.storing import PROJECT, a_run, adding, with_projects

from longshore.adapters.sql import SqliteStore, engine
from longshore.adapters.sql.errors import DiskFull, in_our_words
from longshore.adapters.sql.runs import SqlRuns
from longshore.domain.errors import Unavailable
from longshore.domain.run import RunState
from longshore.ports.store import Page, RunFilter, Work

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "longshore.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SqliteStore]:
    one = SqliteStore(file)
    await one.write(with_projects)
    yield one
    await one.close()


def connection_of(work: Work) -> Connection:
    assert isinstance(work.runs, SqlRuns)
    return work.runs.connection


def asking(statement: str) -> Callable[[Work], object]:
    return lambda work: connection_of(work).exec_driver_sql(statement).scalar()


def open_files(directory: Path) -> list[str]:
    """What this process has open below a directory."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(fd))
    return [name for name in found if name.startswith(str(directory))]


def integrity_of(file: Path) -> object:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


async def test_what_is_committed_is_on_the_disk(store: SqliteStore) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 8000}
    pragmas["journal_size_limit"] = 64 * 1024 * 1024

    assert {name: await store.write(asking(f"PRAGMA {name}")) for name in pragmas} == pragmas


async def test_changes_that_wait_together_share_a_commit(store: SqliteStore) -> None:
    waited = threading.Event()
    blocked = asyncio.ensure_future(store.write(lambda _: waited.wait(30)))
    transactions = [
        asyncio.ensure_future(store.write(lambda work: connection_of(work).get_transaction()))
        for _ in range(50)
    ]
    await asyncio.sleep(0)

    waited.set()

    assert await blocked
    assert len(set(await asyncio.gather(*transactions))) == 1


async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(Unavailable, match="readonly"):
        await store.read(adding(a_run()))

    assert await store.read(lambda work: work.runs.queued_locations()) == []


async def test_a_change_that_costs_the_transaction_fails_its_neighbours_and_no_more(
    store: SqliteStore,
) -> None:
    def ends_it(work: Work) -> None:
        connection_of(work).exec_driver_sql("ROLLBACK")
        raise ValueError("the transaction is gone")

    asked = [store.write(adding(a_run())), store.write(ends_it), store.write(adding(a_run(1)))]
    done = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)

    assert isinstance(done[1], ValueError)
    await store.write(adding(a_run(2)))
    kept = await store.read(lambda work: work.runs.page(PROJECT.id, Page(), RunFilter()))
    assert len(kept) == 1 + done.count(None)


async def test_a_full_disk_is_said_and_passes(store: SqliteStore) -> None:
    pages = await store.write(asking("PRAGMA page_count"))
    await store.write(asking(f"PRAGMA max_page_count={pages}"))
    large = adding(a_run(event='"' + "x" * 500_000 + '"'))

    with pytest.raises(Unavailable, match=r"longshore\.db is full"):
        await store.write(large)
    await store.write(asking("PRAGMA max_page_count=1000000"))
    await store.write(large)

    assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 1)]


async def test_an_error_never_shows_what_a_row_holds(store: SqliteStore) -> None:
    run = a_run(event='"hunter2"')
    await store.write(adding(run))

    with pytest.raises(Exception, match="UNIQUE") as refused:
        await store.write(adding(run))

    assert "hunter2" not in str(refused.value)


def test_errors_of_the_machine_are_told_apart(tmp_path: Path) -> None:
    def ours(code: int) -> BaseException:
        error = sqlite3.OperationalError("the words of SQLite")
        error.sqlite_errorcode = code
        return in_our_words(error, tmp_path / "a.db")

    kinds = {
        sqlite3.SQLITE_FULL: DiskFull,
        sqlite3.SQLITE_BUSY_SNAPSHOT: Unavailable,
        sqlite3.SQLITE_IOERR_WRITE: Unavailable,
        sqlite3.SQLITE_CORRUPT: Unavailable,
        sqlite3.SQLITE_ERROR: sqlite3.OperationalError,
    }
    assert {code: type(ours(code)) for code in kinds} == kinds


async def test_the_file_is_nobody_elses(store: SqliteStore, file: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}

    assert modes == {"longshore.db": 0o600, "longshore.db-wal": 0o600, "longshore.db-shm": 0o600}


@pytest.mark.parametrize("name", ["a?b.db", "a%20b.db", "a#b.db", "a'b ü.db"])
async def test_the_file_has_the_name_that_was_given(tmp_path: Path, name: str) -> None:
    await SqliteStore(tmp_path / name).close()

    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
async def test_a_file_that_is_no_database_is_named_and_let_go(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(Unavailable, match=r"longshore\.db"):
        SqliteStore(file)

    assert open_files(file.parent) == []
    assert file.read_bytes() == content


async def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "directory.db").mkdir()

    for place in (tmp_path / "missing" / "a.db", tmp_path / "directory.db"):
        with pytest.raises(Unavailable, match=place.name):
            SqliteStore(place)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/a.db", "ext4"),
        ("/mnt/share/a.db", "nfs4"),
        ("/mnt/share/local/a.db", "tmpfs"),
        ("/mnt/share two/a.db", "cifs"),
        ("/mnt/shared/a.db", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    mounts = (
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 21 0:40 / /mnt/share rw - nfs4 server:/x rw\n"
        "31 30 0:41 / /mnt/share/local rw shared:2 master:3 - tmpfs tmpfs rw\n"
        "32 21 0:42 / /mnt/share\\040two rw - cifs //server/x rw\n"
        "nonsense\n"
    )

    assert engine.file_system(Path(path), mounts) == kind
    assert engine.file_system(Path(path), "") is None


async def test_a_network_file_system_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_mounts", lambda: f"1 1 0:1 / {file.parent} rw - nfs4 server:/x rw\n")

    with pytest.raises(Unavailable, match="network file system"):
        SqliteStore(file)


async def test_a_closed_store_leaves_no_file_and_no_thread_behind(file: Path) -> None:
    store = SqliteStore(file)
    await store.write(with_projects)
    await asyncio.gather(*(store.read(lambda work: work.projects.page(Page())) for _ in range(20)))
    assert open_files(file.parent)

    await store.close()

    assert open_files(file.parent) == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not [one for one in threading.enumerate() if one.name.startswith("store-")]


@contextlib.contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else who writes and does not end."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.rollback()


async def test_a_lock_of_another_is_waited_for(store: SqliteStore, file: Path) -> None:
    with locked(file) as other:
        waiting = asyncio.ensure_future(store.write(adding(a_run())))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert await store.read(lambda work: work.runs.queued_locations()) == []
        other.rollback()
        await waiting

    assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 1)]


async def test_a_lock_that_does_not_end_is_said_and_the_next_change_works(
    store: SqliteStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.1)
    with locked(file):
        asked = (store.write(adding(a_run(number))) for number in range(3))
        done = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(one) for one in done] == [Unavailable] * 3
    assert "another process has locked" in str(done[0])
    await store.write(adding(a_run()))
    assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 1)]


def child(script: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


async def test_another_process_writes_beside_us(store: SqliteStore, file: Path) -> None:
    with child(_NEIGHBOUR, str(file)) as neighbour:
        number = 0
        while neighbour.poll() is None:
            number += 1
            await asyncio.gather(*(store.write(adding(a_run())) for _ in range(5)))
        said = neighbour.stdout.read() if neighbour.stdout else ""

    assert (neighbour.returncode, said.strip()) == (0, "done")
    assert await store.read(lambda work: work.runs.queued_locations()) == [("default", 5 * number)]
    assert len(await store.read(lambda work: work.projects.page(Page(limit=100)))) == 2 + 30


async def test_processes_that_open_a_new_file_at_once_all_get_it(file: Path) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(_NEIGHBOUR, str(file), str(n), "5")) for n in range(3)]
        said = [await asyncio.to_thread(one.communicate) for one in children]

    assert [out.strip() for out, _ in said] == ["done"] * 3
    assert integrity_of(file) == "ok"


async def test_what_was_acknowledged_survives_kill_9(file: Path) -> None:
    with child(_WRITER, str(file)) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().split() for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
    acknowledged += [line.split() for line in rest[:-1]]

    assert integrity_of(file) == "ok"
    store = SqliteStore(file)
    try:
        for run, state in acknowledged:
            kept = await store.read(lambda work, run=run: work.runs.get(None, run))  # type: ignore[misc]
            assert kept.state in (state, RunState.STARTING)
    finally:
        await store.close()


_NEIGHBOUR = """
import asyncio, sys
from pathlib import Path
from longshore.adapters.sql import SqliteStore
from longshore.domain.project import Project
from tests.contracts.storing import NOW

async def main(file, who="0", many="30"):
    store = SqliteStore(Path(file))
    for number in range(int(many)):
        project = Project(id=f"n{who}-{number}", slug=f"n{who}-{number}", created_at=NOW)
        await store.write(lambda work: work.projects.add(project))
    await store.close()
    print("done")

asyncio.run(main(*sys.argv[1:]))
"""
"""Opens the database, writes as `longshore token create` does beside a server, and goes."""

_WRITER = """
import asyncio, sys
from pathlib import Path
from longshore.adapters.sql import SqliteStore
from tests.contracts.storing import a_run, claim, with_projects

async def caller(store, number):
    while True:
        run = a_run(number)
        await store.write(lambda work: work.runs.add(run))
        print(run.id, "queued", flush=True)
        claimed = await store.write(claim)
        print(claimed.id, "starting", flush=True)

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.write(with_projects)
    await asyncio.gather(*(caller(store, number) for number in range(16)))

asyncio.run(main())
"""
"""Says what it was told is durable, one line each, until it is killed."""
