# SPDX-License-Identifier: Apache-2.0
"""A project owns everything; a role says how far a caller reaches in it."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from longshore.domain.errors import Forbidden
from longshore.domain.ids import ProjectId, TokenId


class Role(StrEnum):
    """Each role may do all that the ones before it may."""

    VIEWER = "viewer"
    RUNNER = "runner"
    EDITOR = "editor"
    ADMIN = "admin"


class Scope(IntEnum):
    """What a route needs. Ordered: a role reaches up to its own scope."""

    VIEW = 1
    RUN = 2
    EDIT = 3
    ADMIN = 4


REACH: dict[Role, Scope] = {
    Role.VIEWER: Scope.VIEW,
    Role.RUNNER: Scope.RUN,
    Role.EDITOR: Scope.EDIT,
    Role.ADMIN: Scope.ADMIN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A room of its own for tasks, secrets, artifacts and tokens."""

    id: ProjectId
    slug: str
    created_at: datetime


class TokenKind(StrEnum):
    """BEARER is for scripts, SESSION is a browser's cookie, LOGIN is a link that becomes a session once."""

    BEARER = "bearer"
    SESSION = "session"
    LOGIN = "login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Who may call. Only the sha256 of its 256 random bits is kept. Without a project it reaches all."""

    id: TokenId
    name: str
    role: Role
    project_id: ProjectId | None
    hash: str
    kind: TokenKind
    created_at: datetime
    expires_at: datetime | None = None
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who calls, in which role. `is_run`: a handler does, with the token of its run."""

    name: str
    role: Role
    project_id: ProjectId | None
    is_run: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether this caller's role reaches that far."""
        return REACH[self.role] >= scope

    def need(self, scope: Scope) -> None:
        """Raise Forbidden, saying which role would do, unless the caller's role reaches that far."""
        if not self.may(scope):
            least = next(role for role, reach in REACH.items() if reach >= scope)
            raise Forbidden(f"{self.name} is a {self.role} here; this takes the role {least}")
