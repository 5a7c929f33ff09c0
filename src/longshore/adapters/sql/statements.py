# SPDX-License-Identifier: Apache-2.0
"""What the repositories say to the database alike.

Statements that run often are built once, as constants of their module: what SQLAlchemy costs is the
building, three times the running.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects.sqlite import insert

from longshore.adapters.sql.codec import Row
from longshore.domain.errors import NotFound

Question = Select[Any]


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
