# SPDX-License-Identifier: Apache-2.0
"""Tokens in a table, by the hash of their bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from longshore.adapters.sql.codec import Row, maybe_micros, maybe_time_of, micros, time_of
from longshore.adapters.sql.schema import tokens
from longshore.adapters.sql.statements import first, new_edition, rows
from longshore.domain.ids import ProjectId, TokenId
from longshore.domain.project import Role, Token, TokenKind
from longshore.ports.store import Page

_BY_HASH = select(tokens).where(tokens.c.hash == bindparam("hash"))


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
        self.connection.execute(insert(tokens), values)
        new_edition(self.connection)

    def by_hash(self, digest: str) -> Token | None:
        row = first(self.connection, _BY_HASH, hash=digest)
        return None if row is None else _token(row)

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
        return [_token(row) for row in rows(self.connection, query)]

    def remove(self, token: TokenId) -> None:
        self.connection.execute(delete(tokens).where(tokens.c.id == token))
        new_edition(self.connection)


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
