# SPDX-License-Identifier: Apache-2.0
"""The database's own errors in our words."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, IntegrityError

from longshore.domain.errors import Invalid, LongshoreError, Unavailable

BUSY_TIMEOUT_S = 5
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_BROKEN = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_TAKEN = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
_NO_ROOM = 1024 * 1024
"""Fewer free bytes than this, and an I/O error is a full disk: SQLite does not say so when it was the
write-ahead log's index that could not grow."""

HALF_A_CHARACTER = "a text has half a character (a lone surrogate) in it, which no database can hold"


class DiskFull(Unavailable):
    """The database's own disk is full. For a caller that is a time to wait, whatever it has sent: only what
    does not fit itself is OutOfSpace."""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """What goes wrong inside is raised in our words."""
    try:
        yield
    except Exception as error:
        ours = in_our_words(error, path)
        if ours is error:
            raise
        raise ours from error


def in_our_words(error: BaseException, path: Path) -> BaseException:
    """The error that a caller is given: ours where there is one, else the error itself."""
    if isinstance(error, UnicodeEncodeError):
        return _because(Invalid(HALF_A_CHARACTER), error)
    if isinstance(error, StopIteration):
        return _because(RuntimeError("a StopIteration escaped; no future can carry one"), error)
    ours = _of_the_machine(error, path)
    return error if ours is None else _because(ours, error)


def _of_the_machine(error: BaseException, path: Path) -> LongshoreError | None:
    code = _code(error) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return DiskFull(f"the disk of the database {path} is full; make room and try again")
    if code in _BUSY:
        return Unavailable(
            f"another process has locked the database {path} for more than {BUSY_TIMEOUT_S} s; try again"
        )
    if code in _BROKEN:
        return Unavailable(f"the database {path} cannot be used: {_original(error)}")
    return None


def is_taken(error: IntegrityError) -> bool:
    """Whether a row of that name is there already, and not some other rule broken."""
    return _code(error) in _TAKEN


def _because(ours: BaseException, error: BaseException) -> BaseException:
    ours.__cause__ = error
    return ours


def _original(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _code(error: BaseException) -> int:
    """SQLite's extended result code; 0 for what did not come from SQLite."""
    return getattr(_original(error), "sqlite_errorcode", 0)


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NO_ROOM
    except OSError:
        return False
