# SPDX-License-Identifier: Apache-2.0
"""The page, its files, and the link that logs a browser in."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from longshore.domain.errors import NotFound, Unauthenticated
from longshore.http.api.access import set_session
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.permissions import API

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_STALE_LINK = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Longshore</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main class="narrow"><h1>This link does not log in</h1>
<p>A login link works once, within half an hour. Make a new one, or <a href="/">log in with a token</a>.</p>
</main></body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the page."""

    content: bytes
    media_type: str
    etag: str


def load_page() -> Mapping[str, File]:
    """Every file of the page by its name. They are few and small, and stay in memory."""
    found = {}
    for place in files("longshore.http.page").iterdir():
        kind = place.name.rpartition(".")[2]
        if kind in _TYPES:
            content = place.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[place.name] = File(content=content, media_type=_TYPES[kind], etag=etag)
    return found


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.get("/static/{name}")
async def static(name: str, request: Request) -> Response:
    """A file of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    known: Mapping[str, File] = request.app.state.page
    if name not in known:
        raise NotFound("there is nothing at this address")
    file = known[name]
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@router.get("/login")
async def follow_login_link(
    request: Request, house: HouseDep, code: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """Turn a login link into a session, and show the page."""
    try:
        session, until = await house.access.login(code)
    except Unauthenticated:
        return HTMLResponse(_STALE_LINK, status_code=401)
    answer = RedirectResponse("/", status_code=303)
    set_session(request, answer, session, until)
    return answer


@router.get(f"{API}/openapi.json")
async def openapi_document(request: Request) -> JSONResponse:
    """The description of the API."""
    document: dict[str, Any] = request.app.openapi()
    return JSONResponse(document)
