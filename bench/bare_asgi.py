# SPDX-License-Identifier: Apache-2.0
"""The least that an ASGI server can do: read a request, answer 200. For uvicorn, see floors.py."""

from starlette.types import Receive, Scope, Send

HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"7")],
}
BODY = {"type": "http.response.body", "body": b'{"a":1}'}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer."""
    while (await receive()).get("more_body"):
        pass
    await send(HEAD)
    await send(BODY)
