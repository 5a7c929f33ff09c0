# SPDX-License-Identifier: Apache-2.0
"""The outermost layer: headers that every answer has, and an answer for what nobody foresaw."""

import traceback

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longshore.http.errors import problem

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_log = structlog.get_logger()


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer 500 when that raises something unforeseen.

        An answer that has begun cannot be taken back: it is left unfinished and the server closes the
        connection, so that nobody takes half of it for the whole.
        """
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in _RAW if one[0] not in there)]
            begun = True
            await send(message)

        try:
            if scope["type"] == "http" and scope["path"].endswith("\n"):
                # The patterns of routes would look past it, and take the name before it for what was meant.
                answer = problem(400, "an address does not end in a line break")
                await answer(scope, receive, with_headers)
                return
            await self.app(scope, receive, with_headers)
        except ClientDisconnect:
            _log.debug("the caller went away", path=scope["path"])
        except Exception as error:  # noqa: BLE001  the edge: nothing may pass it
            _report(scope, error)
            if scope["type"] == "http" and not begun:
                answer = problem(500, "the server failed at this; its log says where")
                await answer(scope, receive, with_headers)


def _report(scope: Scope, error: BaseException) -> None:
    """Log what failed and where. An exception's text may quote what was sent, so it stays out, as does the
    query of the address."""
    _log.error(
        "request failed",
        method=scope.get("method", "WS"),
        path=scope["path"],
        error=type(error).__name__,
        cause=type(error.__cause__).__name__ if error.__cause__ else None,
        where=[
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-12:]
        ],
    )
