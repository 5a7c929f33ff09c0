# SPDX-License-Identifier: Apache-2.0
"""Errors as users of the API meet them: application/problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from longshore.domain.errors import (
    BadPackage,
    Conflict,
    Forbidden,
    Invalid,
    LongshoreError,
    NotFound,
    OutOfSpace,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

STATUS: Mapping[type[LongshoreError], int] = {
    TooLarge: 413,
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    OutOfSpace: 507,
    Unavailable: 503,
    LongshoreError: 500,
}
"""The narrowest class that an error's family names here decides."""

PLACES = frozenset({"body", "query", "path", "header"})


class Problem(BaseModel):
    """What went wrong: `field` names the member of the request, `entry` the file inside the package."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    entry: str | None = None


def problem(
    status: int,
    detail: str,
    *,
    field: str | None = None,
    entry: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that says what went wrong."""
    told = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, field=field, entry=entry
    ).model_dump()
    said = {name: value for name, value in told.items() if value is not None}
    body = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers=headers, media_type="application/problem+json")


def add_handlers(app: FastAPI) -> None:
    """Make every error that a route raises on purpose a problem."""
    app.add_exception_handler(LongshoreError, _domain_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)


async def _domain_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, LongshoreError):
        raise error
    return answer_to(error)


def answer_to(error: LongshoreError) -> Response:
    """The problem that an error of ours is to its caller."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return problem(
        status,
        error.message,
        field=error.field if isinstance(error, Invalid) else None,
        entry=error.entry if isinstance(error, BadPackage) else None,
        headers={"WWW-Authenticate": "Bearer"} if status == 401 else None,
    )


async def _not_valid(_: Request, error: Exception) -> Response:
    """The first thing that is wrong, by its place. What was given is never repeated: it may be a secret."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = [str(step)[:80] for step in first["loc"]]
    field = ".".join(where[1:] if where[0] in PLACES and len(where) > 1 else where)
    return problem(400, f"{field}: {first['msg']}", field=field)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return problem(404, "there is nothing at this address")
    if error.status_code == 405:
        allowed = ", ".join(_methods_of(request.app, request.scope["path"]))
        return problem(405, f"this address takes {allowed}", headers={"Allow": allowed})
    return problem(error.status_code, error.detail, headers=error.headers)


def _methods_of(app: FastAPI, path: str) -> list[str]:
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    fitting = [route for route in routes if isinstance(route, APIRoute) and route.path_regex.match(path)]
    return sorted({method for route in fitting for method in route.methods or ()})
