# SPDX-License-Identifier: Apache-2.0
"""Connections to a SQLite file, set up so that what is committed stays."""

import os
import random
import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from longshore.adapters.sql.errors import BUSY_TIMEOUT_S
from longshore.domain.errors import Unavailable

READS = "longshore_reads"
"""The execution option of a connection that only reads."""
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA wal_autocheckpoint=8000",  # pages, 32 MB: runs write the same few again and again
)
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs"})


def open_engine(path: Path) -> Engine:
    """Connections without a pool: the writer and each reader keep theirs for life."""
    _refuse_network(path)
    _make_private(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        hide_parameters=True,  # an error's text must not carry what rows hold
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def writer(engine: Engine) -> Connection:
    """A connection whose transactions take the write lock when they begin.

    A transaction that reads first and asks for the lock later is refused at once when somebody else wrote
    in between, however long it would wait.
    """
    connection = engine.connect()
    raw_of(connection).execute("PRAGMA busy_timeout=0").close()  # `_take_lock` does the waiting
    return connection


def reader(engine: Engine) -> Connection:
    """A connection that cannot write."""
    connection = engine.connect().execution_options(**{READS: True})
    raw_of(connection).execute("PRAGMA query_only=ON").close()
    return connection


def raw_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for statements that SQLAlchemy has nothing to add to."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101  (the engine's URL says sqlite)
    return raw


def _set_up(raw: sqlite3.Connection, _: object) -> None:
    raw.isolation_level = None  # we begin and commit ourselves
    try:
        for pragma in _PRAGMAS:
            raw.execute(pragma).close()
    except sqlite3.Error:
        raw.close()
        raise


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(READS, False):
        raw_of(connection).execute("BEGIN").close()
    else:
        _take_lock(raw_of(connection))


def _take_lock(raw: sqlite3.Connection) -> None:
    """Begin to write once nobody else does. Against a busy server SQLite's own waiting looks ten times a
    second for a gap of a fraction of a millisecond, and may miss it until its time is up."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            raw.execute("BEGIN IMMEDIATE").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311  (no secret: only out of step)
        else:
            return


def _make_private(path: Path) -> None:
    """Rows are nobody's but ours; the files beside the database take their mode from it.

    A file that exists is left alone: closing any descriptor of it would drop the locks that this process
    holds on it already.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(f"the database {path} cannot be opened: {error.strerror or error}") from error


def _refuse_network(path: Path) -> None:
    """The write-ahead log is shared memory; machines that mount one directory do not share that."""
    kind = file_system(path.resolve(), _mounts())
    if kind in _NETWORK:
        raise Unavailable(
            f"the database {path} is on a network file system ({kind}), where SQLite can lose data;"
            " put it on a local disk"
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that a path is on, from the text of /proc/self/mountinfo."""
    best, kind = -1, None
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ") if left.count(" ") >= 4 else ""
        if right and path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), right.split(" ")[0]
    return kind
