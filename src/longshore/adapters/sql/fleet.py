# SPDX-License-Identifier: Apache-2.0
"""Interceptors that have been seen, in a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from longshore.adapters.sql.codec import Json, micros
from longshore.adapters.sql.schema import interceptors
from longshore.adapters.sql.statements import put, rows
from longshore.domain.fleet import Interceptor

_INTERCEPTOR: Json[Interceptor] = Json(Interceptor)
_SINCE = (
    select(interceptors.c.body)
    .where(interceptors.c.seen_at >= bindparam("since"))
    .order_by(interceptors.c.name, interceptors.c.id)
)


@dataclass(frozen=True, slots=True)
class SqlFleet:
    """See ports.store.Fleet."""

    connection: Connection

    def seen(self, interceptor: Interceptor) -> None:
        values = {
            "name": interceptor.name,
            "seen_at": micros(interceptor.seen_at),
            "body": _INTERCEPTOR.text(interceptor),
        }
        put(self.connection, interceptors, {"id": interceptor.id}, values)

    def all(self, since: datetime) -> Sequence[Interceptor]:
        found = rows(self.connection, _SINCE, since=micros(since))
        return [_INTERCEPTOR.value(row["body"]) for row in found]
