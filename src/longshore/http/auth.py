# SPDX-License-Identifier: Apache-2.0
"""Who calls, and whether they may: 401, then 404 for what they do not reach, then 403.

A bearer token decides when there is one. A cookie is sent by browsers whoever made them send it, so what
changes something with it (and opens a WebSocket) must come from a page of our own: its Origin is our host.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from longshore.domain.errors import Forbidden, Unauthenticated
from longshore.domain.project import Actor, Project, Scope, TokenKind
from longshore.http.context import house_of
from longshore.http.permissions import Door, Rule

SESSION_COOKIE = "longshore_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What is known of a caller once the door is open."""

    actor: Actor | None = None
    project: Project | None = None


async def admit(connection: HTTPConnection, rule: Rule, *, runs_too: bool = False) -> Admitted:
    """Let the caller in by a rule of the table, or raise what it lacks. `runs_too`: a run's token will do."""
    if rule is Door.PUBLIC:
        return Admitted()
    actor = await _caller(connection)
    slug = connection.path_params.get("project")
    project = None if slug is None else await house_of(connection).access.project(slug, actor)
    if isinstance(rule, Scope) and not (runs_too and actor.is_run):
        actor.need(rule)
    return Admitted(actor=actor, project=project)


async def _caller(connection: HTTPConnection) -> Actor:
    access = house_of(connection).access
    header = connection.headers.get("authorization")
    if header is not None:
        return await access.authenticate(_bearer(header))
    session = connection.cookies.get(SESSION_COOKIE)
    if not session:
        raise Unauthenticated("this takes a token (Authorization: Bearer ...) or a session; log in first")
    if connection.scope.get("method", "WS") not in SAFE:
        check_origin(connection, required=True)
    return await access.authenticate(session, kind=TokenKind.SESSION)


def _bearer(header: str) -> str:
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise Unauthenticated("the header Authorization takes: Bearer, a space, and a token")
    return value.strip()


def check_origin(connection: HTTPConnection, *, required: bool) -> None:
    """Raise Forbidden for a request that a foreign page made a browser send."""
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "").lower()
    if origin is None and not required:
        return
    if not host or (origin or "").lower() not in {f"http://{host}", f"https://{host}"}:
        raise Forbidden("with a session's cookie this takes an Origin header that names this server")


def admitted_of(connection: HTTPConnection) -> Admitted:
    """What the door has found out about this request."""
    found: Admitted = connection.state.admitted
    return found


# Dependencies are async because FastAPI takes any other function to a thread and back.
async def _actor(connection: HTTPConnection) -> Actor:
    actor = admitted_of(connection).actor
    if actor is None:
        raise Unauthenticated("nobody is calling")
    return actor


async def _project(
    connection: HTTPConnection, project: Annotated[str, Path(description="a project's slug")]
) -> Project:
    found = admitted_of(connection).project
    if found is None:
        raise LookupError(f"the route of project {project!r} was entered past its door")
    return found


ActorDep = Annotated[Actor, Depends(_actor)]
ProjectDep = Annotated[Project, Depends(_project)]
