# SPDX-License-Identifier: Apache-2.0
"""Serves the Runtime API on a listening socket that a sandbox passed out.

Whoever connects is user code: heads and bodies are bounded, so is the number of connections, and only one
body is held at a time. A reply is one write, header and body together: two of them cost 40 ms (Nagle's
algorithm waiting for a delayed acknowledgement).
"""

import asyncio
import contextlib
import functools
import socket
from http import HTTPStatus

import httptools

from longshore.domain.errors import Conflict
from longshore.runtime_api.protocol import (
    BAD_REQUEST,
    MAX_PAYLOAD_BYTES,
    TRUNCATED,
    Call,
    Environment,
    Failure,
    Head,
    InitDone,
    InitFailed,
    Reply,
    Response,
    Upload,
    Wait,
    refusal,
)
from longshore.runtime_api.wire import HELLO, Asker, Wire

__all__ = ["Call", "Failure", "InitDone", "InitFailed", "Response", "RuntimeApi"]

MAX_CONNECTIONS = 64
MAX_HEAD_BYTES = 1_280 * 1024
"""The official clients send an X-Ray cause of up to 1 MiB as a header."""
HEAD_WITHIN_S = 30.0
LINGER_S = 5.0
LINGER_BYTES = 256 * 1024 * 1024
_KEPT = {
    "content-type",
    "content-length",
    "expect",
    "lambda-runtime-function-error-type",
    "lambda-runtime-function-error-body",
    "lambda-runtime-function-response-mode",
}
_BUSY = refusal(503, "TooManyConnections", f"at most {MAX_CONNECTIONS} connections are served", close=True)
_HEAD_TOO_LARGE = refusal(431, "HeaderFieldsTooLarge", "the head of the request is too large", close=True)
_TOO_SLOW = refusal(408, "RequestTimeout", "the head of the request did not arrive in time", close=True)


class RuntimeApi:
    """The other end of a runtime: waits for its init, gives it one event at a time. It serves HTTP, and the
    frames of wire.py."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._environment = Environment()
        self._connections: set[Asker] = set()
        self._waiting: list[Asker] = []
        self._asked = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ready: asyncio.Future[InitDone | InitFailed] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[Response | Failure] | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Accept connections. The socket stays its owner's; a duplicate of it is listened on."""
        loop = asyncio.get_running_loop()
        own = self._listening.dup()
        try:
            self._server = await loop.create_server(lambda: _Connection(self), sock=own)
        except BaseException:
            own.close()
            raise

    @property
    def first_word(self) -> "asyncio.Future[InitDone | InitFailed]":
        """The runtime's; not to be cancelled."""
        return self._ready

    async def ready(self) -> InitDone | InitFailed:
        """Wait for the runtime's first word. May be cancelled and asked again."""
        return await asyncio.shield(self._ready)

    async def asks(self, *, within: float) -> bool:
        """Whether the runtime asks for its next event, now or within so many seconds."""
        if self._waiting:
            return True
        self._asked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._asked.wait()
        return bool(self._waiting)

    async def invoke(self, call: Call) -> Response | Failure:
        """Hand the event to the runtime and wait for its answer; one at a time.

        Cancelled, it forgets the event: an answer that comes later is refused, the next event is served.
        """
        answer = self.offer(call)
        try:
            return await answer
        finally:
            self.withdraw()

    def offer(self, call: Call) -> "asyncio.Future[Response | Failure]":
        """Hand the event to the runtime; its answer, if it comes before `withdraw`, which has to follow."""
        if self._answer is not None:
            raise Conflict("this environment is busy with another event")
        self._answer = asyncio.get_running_loop().create_future()
        self._environment.offer(call)
        self._serve_waiting()
        return self._answer

    def withdraw(self) -> None:
        """Forget the event: an answer that comes later is refused, the next event is served."""
        self._answer = None
        self._environment.withdraw()

    async def close(self) -> None:
        """Stop accepting, drop every connection. Whoever still waits here is cancelled."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()
        if self._server is not None:
            await self._server.wait_closed()
        self._ready.cancel()
        if self._answer is not None:
            self._answer.cancel()

    # --- what connections ask -------------------------------------------------------------------------

    def admit(self, connection: Asker) -> bool:
        """Count a connection in; False when there were enough already."""
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= MAX_CONNECTIONS

    def turned(self, connection: Asker, into: Asker) -> None:
        """A connection goes on as another."""
        self._connections.discard(connection)
        self._connections.add(into)

    def gone(self, connection: Asker) -> None:
        """A connection is over."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def forget(self, connection: Asker, upload: Upload | None) -> None:
        """Nothing more comes from a connection: it does not wait, and its upload stays unfinished."""
        if connection in self._waiting:
            self._waiting.remove(connection)
        if upload is not None:
            self._environment.break_off(upload)

    def begin(self, connection: Asker, head: Head) -> Reply | Wait | Upload:
        """Judge a head; who has to wait is kept in mind."""
        judged = self._environment.begin(head)
        if isinstance(judged, Wait):
            self._waiting.append(connection)
            self._asked.set()
        self._tell()
        return judged

    def complete(self, upload: Upload, body: bytes, trailers: dict[str, str]) -> Reply:
        """A body has arrived."""
        reply = self._environment.complete(upload, body, trailers)
        self._tell()
        return reply

    def overflow(self, upload: Upload) -> Reply:
        """A body is larger than allowed."""
        reply = self._environment.overflow(upload)
        self._tell()
        return reply

    def _serve_waiting(self) -> None:
        """The one who asked last gets the event: whoever asked before it has probably given up."""
        while self._waiting:
            reply = self._environment.hand_out()
            if reply is None:
                return
            self._waiting.pop().answer(reply)

    def _tell(self) -> None:
        for said in self._environment.news():
            if isinstance(said, InitDone | InitFailed):
                if not self._ready.done():
                    self._ready.set_result(said)
            elif self._answer is not None and not self._answer.done():
                self._answer.set_result(said)


class _Connection(asyncio.Protocol):
    """One connection of the runtime, or of whatever else runs beside it.

    A refusal that ends it is written, then what still comes is read and dropped for a while: closing at once
    would reset the connection, and the other side might never read why.
    """

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._waits = self._over = False
        self._is_new = True
        self._quiet = self._dropped = 0
        self._fresh()

    def _fresh(self) -> None:
        """Ready for a request."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._trailers: dict[str, str] = {}
        self._in_body = False
        self._body: list[bytes] = []
        self._size = 0
        self._judged = False
        self._reply: Reply | None = None
        self._upload: Upload | None = None

    def _within(self, seconds: float | None, reply: Reply | None = None) -> None:
        """After so many seconds the connection is refused, or dropped; None: there is time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            late = self.abort if reply is None else functools.partial(self._refuse, reply)
            self._timer = asyncio.get_running_loop().call_later(seconds, late)

    # --- called by asyncio ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are asyncio's by shape only
        with contextlib.suppress(OSError):  # a socket of another family has no such option
            accepted = transport.get_extra_info("socket")
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._api.admit(self):
            self._refuse(_BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._within(None)
        self._api.forget(self, self._upload)
        self._api.gone(self)

    def pause_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> None:
        if self._upload is not None and not self._over:
            self._transport.write(_written(TRUNCATED, last=True))

    def data_received(self, data: bytes) -> None:
        if self._over:
            self._drop(len(data))
            return
        if self._is_new:
            self._is_new = False
            if data.startswith(HELLO):
                self._turn_into_wire(data[len(HELLO) :])
                return
        if self._waits:
            self._refuse(BAD_REQUEST)  # nothing can be answered before the event that this one waits for
            return
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(BAD_REQUEST)
        if self._quiet > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)

    def _turn_into_wire(self, rest: bytes) -> None:
        self._within(None)
        wire = Wire(self._api, self._transport)
        self._api.turned(self, wire)
        self._transport.set_protocol(wire)
        if rest:
            wire.data_received(rest)

    # --- called by the parser -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waits:
            self._refuse(BAD_REQUEST)
        if not self._over:
            self._fresh()
            self._within(HEAD_WITHIN_S, _TOO_SLOW)

    def on_url(self, url: bytes) -> None:
        self._url += url[:8192]

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower().decode("latin-1")
        if key in _KEPT:
            kept = self._trailers if self._in_body else self._headers
            kept[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._over:
            return
        self._within(None)
        self._quiet = 0
        self._in_body = True
        if self._parser.get_method() == b"POST":
            self._judge()

    def on_body(self, body: bytes) -> None:
        self._quiet = 0
        self._size += len(body)
        if self._over:
            return
        if self._size <= MAX_PAYLOAD_BYTES:
            if self._upload is not None:
                self._body.append(body)
            return
        self._body = []
        self._refuse(self._api.overflow(self._upload) if self._upload else self._reply or BAD_REQUEST)

    def on_message_complete(self) -> None:
        if self._over:
            return
        self._quiet = 0
        if not self._judged:
            self._judge()
        if self._upload is not None:
            upload, self._upload = self._upload, None
            self._reply = self._api.complete(upload, b"".join(self._body), self._trailers)
            self._body = []
        if self._reply is not None and not self._over:
            self.answer(self._reply)

    def _judge(self) -> None:
        """A body is judged by its head, before it comes; a question when it is complete."""
        self._judged = True
        try:
            path = httptools.parse_url(self._url).path or b""
        except httptools.HttpParserInvalidURLError:
            self._refuse(BAD_REQUEST)
            return
        method = self._parser.get_method().decode("latin-1")
        head = Head(method=method, path=path.decode("latin-1"), headers=self._headers)
        judged = self._api.begin(self, head)
        expects = self._headers.get("expect", "").lower() == "100-continue"
        if isinstance(judged, Upload):
            self._upload = judged
            if expects:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif isinstance(judged, Wait):
            self._waits = True
        elif judged.close or expects or method == "HEAD":
            self._refuse(judged)
        else:
            self._reply = judged

    # --- answers --------------------------------------------------------------------------------------

    def answer(self, reply: Reply) -> None:
        """Write a reply to a complete request; the connection goes on unless the other side wants its end."""
        self._waits, self._reply = False, None
        last = not self._parser.should_keep_alive()
        self._transport.write(_written(reply, last=last))
        if last:
            self._over = True
            self._transport.close()

    def _refuse(self, reply: Reply) -> None:
        """Write a reply that ends the connection."""
        if self._over:
            return
        self._over = True
        self._waits = False
        self._api.forget(self, self._upload)
        self._upload = None
        self._transport.write(_written(reply, last=True))
        self._transport.write_eof()
        self._within(LINGER_S)

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > LINGER_BYTES:
            self.abort()

    def abort(self) -> None:
        """End it here and now."""
        self._transport.abort()


def _written(reply: Reply, *, last: bool) -> bytes:
    """A response in one piece."""
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    lines += ["Connection: close"] if last else []
    clean = (line.translate(_NO_BREAKS) for line in lines)
    return "\r\n".join(clean).encode("utf-8", "replace") + b"\r\n\r\n" + reply.body


_NO_BREAKS = str.maketrans("\r\n\0", "   ")
