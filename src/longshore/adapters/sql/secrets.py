# SPDX-License-Identifier: Apache-2.0
"""Sealed values in a table, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from longshore.adapters.sql.codec import Row, micros, time_of
from longshore.adapters.sql.schema import secrets
from longshore.adapters.sql.statements import first, new_edition, put, rows
from longshore.domain.errors import NotFound
from longshore.domain.ids import ProjectId
from longshore.domain.secret import Secret
from longshore.ports.store import Page

_NAMED = select(secrets).where(
    secrets.c.project_id == bindparam("project"), secrets.c.name.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class SqlSecrets:
    """See ports.store.Secrets."""

    connection: Connection

    def put(self, secret: Secret) -> None:
        values = {
            "sealed": secret.sealed,
            "hidden": secret.hidden,
            "updated_at": micros(secret.updated_at),
            "updated_by": secret.updated_by,
        }
        put(self.connection, secrets, {"project_id": secret.project_id, "name": secret.name}, values)
        new_edition(self.connection)

    def get(self, project: ProjectId, name: str) -> Secret:
        found = self.named(project, [name])
        if not found:
            raise NotFound(f"there is no secret {name[:128]!r} in this project")
        return found[0]

    def named(self, project: ProjectId, names: Sequence[str]) -> Sequence[Secret]:
        if not names:
            return []
        return [_secret(row) for row in rows(self.connection, _NAMED, project=project, names=list(names))]

    def page(self, project: ProjectId, page: Page) -> Sequence[Secret]:
        query = select(secrets).where(secrets.c.project_id == project)
        if page.after is not None:
            query = query.where(secrets.c.name > page.after)
        query = query.order_by(secrets.c.name).limit(page.limit)
        return [_secret(row) for row in rows(self.connection, query)]

    def any_one(self) -> Secret | None:
        row = first(self.connection, select(secrets).limit(1))
        return None if row is None else _secret(row)

    def remove(self, project: ProjectId, name: str) -> None:
        done = self.connection.execute(
            delete(secrets).where(secrets.c.project_id == project, secrets.c.name == name)
        )
        if done.rowcount == 0:
            raise NotFound(f"there is no secret {name[:128]!r} in this project")
        new_edition(self.connection)


def _secret(row: Row) -> Secret:
    return Secret(
        project_id=row["project_id"],
        name=row["name"],
        sealed=bytes(row["sealed"]),
        hidden=bool(row["hidden"]),
        updated_at=time_of(row["updated_at"]),
        updated_by=row["updated_by"],
    )
