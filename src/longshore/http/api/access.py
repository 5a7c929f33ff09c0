# SPDX-License-Identifier: Apache-2.0
"""Health, who am I, login and logout."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from longshore.domain.project import Role, TokenKind
from longshore.http.api.models import Sent
from longshore.http.auth import SESSION_COOKIE, ActorDep, check_origin
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.permissions import API
from longshore.ports.store import Page

router = APIRouter(prefix=API, route_class=GuardedRoute, tags=["access"])


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"]
    version: str


class Me(BaseModel):
    """Who is calling; `project` is null for a token that reaches all."""

    name: str
    role: Role
    project: str | None


class Login(Sent):
    """A login link's code, or a token."""

    code: str


class LoggedIn(BaseModel):
    """Whose session it is."""

    name: str
    role: Role


class LoginLink(BaseModel):
    """An address that opens one browser session with the caller's reach, once."""

    url: str
    expires_at: datetime


@router.get("/health")
async def health(house: HouseDep) -> Health:
    """Whether the server answers, and which version it is."""
    return Health(status="ok", version=house.version)


@router.get("/me")
async def me(house: HouseDep, actor: ActorDep) -> Me:
    """Who is calling."""
    own = await house.access.projects(actor, Page(limit=1)) if actor.project_id else ()
    return Me(name=actor.name, role=actor.role, project=own[0].slug if own else None)


@router.post("/login")
async def login(request: Request, response: Response, body: Login, house: HouseDep) -> LoggedIn:
    """Open a session: the answer sets its cookie."""
    check_origin(request, required=False)
    session, until = await house.access.login(body.code)
    actor = await house.access.authenticate(session, kind=TokenKind.SESSION)
    set_session(request, response, session, until)
    return LoggedIn(name=actor.name, role=actor.role)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, house: HouseDep) -> None:
    """End the session and clear its cookie; harmless without one."""
    session = request.cookies.get(SESSION_COOKIE)
    if session:
        check_origin(request, required=True)
        await house.access.logout(session)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")


@router.post("/login-links", status_code=201)
async def create_login_link(request: Request, house: HouseDep, actor: ActorDep) -> LoginLink:
    """A link for a browser; it works once and not for long."""
    code, until = await house.access.login_link(actor)
    return LoginLink(url=f"{own_address(request, house.base_url)}/login?code={code}", expires_at=until)


def set_session(request: Request, response: Response, session: str, until: datetime) -> None:
    """Give the browser its session."""
    response.set_cookie(
        SESSION_COOKIE,
        session,
        expires=until,
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def own_address(request: Request, otherwise: str) -> str:
    """Our address as the caller knows it: behind a proxy it is another than the one we listen on."""
    host = request.headers.get("host", "")
    plain = host and all(sign.isalnum() or sign in "-.:[]_" for sign in host)
    return f"{request.url.scheme}://{host}" if plain else otherwise
