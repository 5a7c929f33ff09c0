# SPDX-License-Identifier: Apache-2.0
"""The Runtime API without HTTP, for the Python client that we start ourselves: a quarter of the time.

A connection that begins with HELLO carries frames: a length (4 bytes, big-endian), then that many bytes.

    in    N                                     as GET /runtime/invocation/next
          R id NUL content type NUL body        as POST /runtime/invocation/{id}/response; answered if refused
    out   status (2 bytes) length (4 bytes) of: name NUL value NUL name NUL value ... then the body

What is asked, and in which order it may be, is decided by the same table (protocol.Environment), whoever asks
and however. User code may speak this as well as HTTP; it gains nothing by it.
"""

import asyncio
from typing import Protocol

from longshore.runtime_api.protocol import VERSION, Head, Reply, Upload, Wait

HELLO = b"\0longshore-wire-1\n"
MAX_FRAME_BYTES = 1024 * 1024 + 4096
"""Larger responses come by HTTP."""
_NEXT = Head(method="GET", path=f"{VERSION}/runtime/invocation/next")


class Api(Protocol):
    """What a connection asks of server.RuntimeApi."""

    def admit(self, connection: "Asker") -> bool: ...
    def gone(self, connection: "Asker") -> None: ...
    def forget(self, connection: "Asker", upload: Upload | None) -> None: ...
    def begin(self, connection: "Asker", head: Head) -> Reply | Wait | Upload: ...
    def complete(self, upload: Upload, body: bytes, trailers: dict[str, str]) -> Reply: ...


class Asker(Protocol):
    """A connection, as the API sees it."""

    def answer(self, reply: Reply) -> None:
        """Write the reply to what was asked last."""
        ...

    def abort(self) -> None:
        """End the connection here and now."""
        ...


class Wire(asyncio.Protocol):
    """A connection that has said HELLO; `connection` is what it was before, which the API has counted in."""

    def __init__(self, api: Api, transport: asyncio.Transport) -> None:
        self._api, self._transport = api, transport
        self._heard = bytearray()

    def data_received(self, data: bytes) -> None:
        """Take in what came, and carry out each frame that is whole."""
        heard = self._heard
        heard += data
        while len(heard) >= 4:
            size = int.from_bytes(heard[:4], "big")
            if not 0 < size <= MAX_FRAME_BYTES:
                self.abort()
                return
            if len(heard) < 4 + size:
                return
            frame = bytes(heard[4 : 4 + size])
            del heard[: 4 + size]
            self._carry_out(frame)

    def _carry_out(self, frame: bytes) -> None:
        if frame == b"N":
            judged = self._api.begin(self, _NEXT)
            if isinstance(judged, Reply):
                self.answer(judged)
        elif frame[:1] == b"R" and frame.count(b"\0", 1) >= 2:
            self._respond(*frame[1:].split(b"\0", 2))
        else:
            self.abort()

    def _respond(self, request_id: bytes, content_type: bytes, body: bytes) -> None:
        head = Head(
            method="POST",
            path=f"{VERSION}/runtime/invocation/{request_id.decode('latin-1')}/response",
            headers={"content-type": content_type.decode("latin-1")},
        )
        judged = self._api.begin(self, head)
        if isinstance(judged, Upload):
            self._api.complete(judged, body, {})
        elif isinstance(judged, Reply):
            self.answer(judged)

    def answer(self, reply: Reply) -> None:
        """One write."""
        said = [("Content-Type", reply.content_type), *reply.headers]
        words = "\0".join(word.replace("\0", " ") for pair in said for word in pair)
        headers = words.encode("utf-8", "replace")
        size = 6 + len(headers) + len(reply.body)
        head = size.to_bytes(4, "big") + reply.status.to_bytes(2, "big") + len(headers).to_bytes(4, "big")
        self._transport.write(head + headers + reply.body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits there any more."""
        self._api.forget(self, None)
        self._api.gone(self)

    def abort(self) -> None:
        """End it."""
        self._transport.abort()
