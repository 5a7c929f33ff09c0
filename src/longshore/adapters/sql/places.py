# SPDX-License-Identifier: Apache-2.0
"""Projects, tokens, secrets and interceptors in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from longshore.adapters.sql.codec import (
    Json,
    Row,
    maybe_micros,
    maybe_time_of,
    micros,
    time_of,
)
from longshore.adapters.sql.schema import interceptors, projects, secrets, tokens
from longshore.domain.errors import Conflict, NotFound
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import ProjectId, TokenId
from longshore.domain.project import Project, Role, Token, TokenKind
from longshore.domain.secret import Secret
from longshore.ports.store import Page

_INTERCEPTOR: Json[Interceptor] = Json(Interceptor)


def one(connection: Connection, query: "Select[tuple[object, ...]]", missing: str) -> Row:
    """The only row of a query; raises NotFound with that sentence."""
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(missing)
    return dict(row)


@dataclass(frozen=True, slots=True)
class SqlProjects:
    """See ports.store.Projects."""

    connection: Connection

    def add(self, project: Project) -> None:
        values = {"id": project.id, "slug": project.slug, "created_at": micros(project.created_at)}
        try:
            self.connection.execute(insert(projects).values(values))
        except IntegrityError as error:
            raise Conflict(f"there is a project {project.slug} already") from error

    def by_slug(self, slug: str) -> Project:
        query = select(projects).where(projects.c.slug == slug)
        return _project(one(self.connection, query, f"there is no project {slug[:64]!r}"))

    def get(self, project: ProjectId) -> Project:
        query = select(projects).where(projects.c.id == project)
        return _project(one(self.connection, query, f"there is no project with the id {project}"))

    def page(self, page: Page) -> Sequence[Project]:
        query = select(projects).order_by(projects.c.slug).limit(page.limit)
        if page.after is not None:
            query = query.where(projects.c.slug > page.after)
        return [_project(dict(row)) for row in self.connection.execute(query).mappings()]


def _project(row: Row) -> Project:
    return Project(id=row["id"], slug=row["slug"], created_at=time_of(row["created_at"]))


@dataclass(frozen=True, slots=True)
class SqlTokens:
    """See ports.store.Tokens."""

    connection: Connection

    def add(self, token: Token) -> None:
        values = {
            "id": token.id,
            "name": token.name,
            "role": token.role.value,
            "project_id": token.project_id,
            "hash": token.hash,
            "kind": token.kind.value,
            "created_at": micros(token.created_at),
            "expires_at": maybe_micros(token.expires_at),
            "used_at": maybe_micros(token.used_at),
        }
        self.connection.execute(insert(tokens).values(values))

    def by_hash(self, digest: str) -> Token | None:
        row = self.connection.execute(select(tokens).where(tokens.c.hash == digest)).mappings().first()
        return None if row is None else _token(dict(row))

    def used(self, token: TokenId, at: datetime) -> None:
        self.connection.execute(update(tokens).where(tokens.c.id == token).values(used_at=micros(at)))

    def page(self, project: ProjectId | None, page: Page) -> Sequence[Token]:
        query = (
            select(tokens)
            .where(tokens.c.project_id.is_(None) if project is None else tokens.c.project_id == project)
            .where(tokens.c.kind == TokenKind.BEARER.value)
            .order_by(tokens.c.id)
            .limit(page.limit)
        )
        if page.after is not None:
            query = query.where(tokens.c.id > page.after)
        return [_token(dict(row)) for row in self.connection.execute(query).mappings()]

    def remove(self, token: TokenId) -> None:
        self.connection.execute(delete(tokens).where(tokens.c.id == token))


def _token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        project_id=row["project_id"],
        hash=row["hash"],
        kind=TokenKind(row["kind"]),
        created_at=time_of(row["created_at"]),
        expires_at=maybe_time_of(row["expires_at"]),
        used_at=maybe_time_of(row["used_at"]),
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
        self.connection.execute(
            upsert(secrets)
            .values(project_id=secret.project_id, name=secret.name, **values)
            .on_conflict_do_update(index_elements=["project_id", "name"], set_=values)
        )

    def get(self, project: ProjectId, name: str) -> Secret:
        found = self.named(project, [name])
        if not found:
            raise NotFound(f"there is no secret {name[:128]!r} in this project")
        return found[0]

    def named(self, project: ProjectId, names: Sequence[str]) -> Sequence[Secret]:
        if not names:
            return []
        query = select(secrets).where(secrets.c.project_id == project, secrets.c.name.in_(names))
        return [_secret(dict(row)) for row in self.connection.execute(query).mappings()]

    def page(self, project: ProjectId, page: Page) -> Sequence[Secret]:
        query = select(secrets).where(secrets.c.project_id == project)
        if page.after is not None:
            query = query.where(secrets.c.name > page.after)
        query = query.order_by(secrets.c.name).limit(page.limit)
        return [_secret(dict(row)) for row in self.connection.execute(query).mappings()]

    def any_one(self) -> Secret | None:
        row = self.connection.execute(select(secrets).limit(1)).mappings().first()
        return None if row is None else _secret(dict(row))

    def remove(self, project: ProjectId, name: str) -> None:
        done = self.connection.execute(
            delete(secrets).where(secrets.c.project_id == project, secrets.c.name == name)
        )
        if done.rowcount == 0:
            raise NotFound(f"there is no secret {name[:128]!r} in this project")


def _secret(row: Row) -> Secret:
    return Secret(
        project_id=row["project_id"],
        name=row["name"],
        sealed=bytes(row["sealed"]),
        hidden=bool(row["hidden"]),
        updated_at=time_of(row["updated_at"]),
        updated_by=row["updated_by"],
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
        self.connection.execute(
            upsert(interceptors)
            .values(id=interceptor.id, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )

    def all(self, since: datetime) -> Sequence[Interceptor]:
        query = (
            select(interceptors.c.body)
            .where(interceptors.c.seen_at >= micros(since))
            .order_by(interceptors.c.name, interceptors.c.id)
        )
        return [_INTERCEPTOR.value(body) for (body,) in self.connection.execute(query)]
