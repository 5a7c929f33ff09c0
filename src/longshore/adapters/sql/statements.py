# SPDX-License-Identifier: Apache-2.0
"""What the repositories say to the database alike.

Statements that run often are built once, as constants of their module: what SQLAlchemy costs is the
building, three times the running. Those of a run's own road are also compiled once (`Prepared`).
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, Table, Update, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from longshore.adapters.sql.codec import Row
from longshore.adapters.sql.engine import raw_of
from longshore.adapters.sql.schema import editions
from longshore.domain.errors import NotFound

Question = Select[Any]
HAS_NEW_EDITION = "longshore_new_edition"
"""In a connection's `info`: its transaction has made one."""
_NAMED = sqlite.dialect(paramstyle="named")


class Prepared:
    """A statement that goes to the driver as it is: a tenth of what it costs through SQLAlchemy.

    `columns` are those that an INSERT gives. A transaction must be under way.
    """

    def __init__(
        self, statement: Select[Any] | Insert | Update | Delete, columns: Sequence[str] | None = None
    ) -> None:
        compiled = statement.compile(dialect=_NAMED, column_keys=columns)
        self._sql = str(compiled)
        self._fixed = {name: bound.value for bound, name in compiled.bind_names.items() if not bound.required}

    def run(self, connection: Connection, given: Mapping[str, object]) -> sqlite3.Cursor:
        """Carry it out."""
        return raw_of(connection).execute(self._sql, {**self._fixed, **given} if self._fixed else given)

    def first(self, connection: Connection, **given: object) -> Row | None:
        """The first row, if there is one. All are fetched: a cursor that is left half read keeps its lock."""
        cursor = self.run(connection, given)
        found = cursor.fetchall()
        if not found:
            return None
        return dict(zip((column[0] for column in cursor.description), found[0], strict=True))


def new_edition(connection: Connection) -> None:
    """Say that a project, token, task or secret has changed; see ports.store.Store.edition."""
    connection.execute(_NEW_EDITION)
    connection.info[HAS_NEW_EDITION] = True


_NEW_EDITION = update(editions).values(number=editions.c.number + 1)


def rows(connection: Connection, query: Question, **given: object) -> Sequence[Row]:
    """All rows of a query."""
    return [row._asdict() for row in connection.execute(query, given)]


def first(connection: Connection, query: Question, **given: object) -> Row | None:
    """The first row of a query, if there is one."""
    row = connection.execute(query, given).first()
    return None if row is None else row._asdict()


def one(connection: Connection, query: Question, missing: str, **given: object) -> Row:
    """The first row of a query; raises NotFound with that sentence."""
    row = first(connection, query, **given)
    if row is None:
        raise NotFound(missing)
    return row


def put(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Record or replace the row of that key. SQLite and PostgreSQL say it with the same words."""
    statement = insert(table).values(**key, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(key), set_=dict(values))
        if values
        else statement.on_conflict_do_nothing()
    )
