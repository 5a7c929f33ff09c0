# SPDX-License-Identifier: Apache-2.0
"""Request bodies: streamed in pieces, or whole and small; never one without a limit."""

import asyncio
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request

from longshore.domain.errors import Invalid, TooLarge
from longshore.domain.parameters import type_json
from longshore.http.strict_json import strict_json

MAX_JSON_BYTES = 8 * 1024 * 1024
LONG = 64 * 1024
PATIENCE_S = 60.0
"""How long a body may bring not a single byte."""


async def pieces(request: Request, *, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises TooLarge before the first byte when its announced length is past the
    limit, and at the first byte past it otherwise; answers 408 when nothing comes for a while."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    patience: float = request.app.state.patience_s
    stream, size = aiter(request.stream()), 0
    while True:
        try:
            async with asyncio.timeout(patience):
                piece = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(
                408, f"no byte of the body came for {patience:g} seconds", {"Connection": "close"}
            ) from None
        if piece is None:
            return
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if piece:
            yield piece


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes, the most that is taken here", field="body")


class StrictRequest(Request):
    """A request whose body is small, and whose JSON is JSON."""

    def __init__(self, request: Request) -> None:
        super().__init__(_as_json(request), request.receive)
        self._given: type_json = None

    async def read(self) -> None:
        """Take the body in, before anybody asks for its value; raises Invalid with what is wrong with it."""
        self._body = b"".join([piece async for piece in pieces(self, limit=MAX_JSON_BYTES)])
        try:
            self._given = await _value(self._body.decode("utf-8")) if self._body else None
        except UnicodeDecodeError as error:
            raise Invalid(f"the body is not UTF-8: byte {error.start} is wrong", field="body") from None
        except ValueError as error:
            raise Invalid(f"the body is not valid JSON: {error}", field="body") from None

    async def json(self) -> type_json:
        """The value that was read."""
        return self._given


async def _value(text: str) -> type_json:
    """A long text is read beside the event loop: it takes up to a second."""
    return strict_json(text) if len(text) < LONG else await asyncio.to_thread(strict_json, text)


def _as_json(request: Request) -> dict[str, object]:
    """The scope of a request that says its body is JSON: what else could it be here, and curl's -d calls
    it a form. Cookies cannot be abused by that, they come with a check of the Origin."""
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    return {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
