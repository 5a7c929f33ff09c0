# SPDX-License-Identifier: Apache-2.0
"""Logs of short runs in a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select

from longshore.adapters.sql.codec import Json, whole
from longshore.adapters.sql.schema import short_logs
from longshore.adapters.sql.statements import Prepared, first
from longshore.domain.ids import RunId
from longshore.domain.logs import LogLine

_LINES: Json[tuple[LogLine, ...]] = Json(tuple[LogLine, ...])
_ADD = Prepared(insert(short_logs), ["run_id", "lines"])
_OF_RUN = select(short_logs.c.lines).where(short_logs.c.run_id == bindparam("run"))


@dataclass(frozen=True, slots=True)
class SqlShortLogs:
    """See ports.store.ShortLogs."""

    connection: Connection

    def add(self, run: RunId, lines: Sequence[LogLine]) -> None:
        kept = tuple(line if line.text.isascii() else line._replace(text=whole(line.text)) for line in lines)
        _ADD.run(self.connection, {"run_id": run, "lines": _LINES.text(kept)})

    def lines(self, run: RunId) -> Sequence[LogLine]:
        row = first(self.connection, _OF_RUN, run=run)
        return () if row is None else _LINES.value(row["lines"])
