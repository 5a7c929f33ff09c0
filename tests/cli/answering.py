# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server whose answers a test writes down, for what the true one does too rarely."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What arrived. `path` is as it was sent, percent signs and all."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes back. `breaks_off` closes the connection before the promised end."""

    status: int = 200
    document: object = None
    body: bytes | None = None
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False

    @property
    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        return b"" if self.document is None else json.dumps(self.document).encode()


def problem(status: int, detail: str) -> Answer:
    """A refusal as the API words it."""
    return Answer(
        status, {"title": "No", "status": status, "detail": detail}, kind="application/problem+json"
    )


@dataclass
class Answering:
    """A server and all that it was asked."""

    url: str
    requests: list[Request]

    def asked(self) -> list[str]:
        """METHOD path, in order."""
        return [f"{one.method} {one.path}" for one in self.requests]


@contextmanager
def answering(answer: Callable[[Request], Answer]) -> Iterator[Answering]:
    """A server on a free port that answers each request with what the function says."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            super().handle_one_request()
            self.close_connection = True

        def _any(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, parts.path, query, dict(self.headers), body)
            requests.append(request)
            self._send(answer(request))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def _send(self, told: Answer) -> None:
            self.send_response(told.status)
            missing = 10 if told.breaks_off else 0
            headers = {"Content-Type": told.kind, "Content-Length": str(len(told.content) + missing)}
            for name, value in {**headers, **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.content)

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at `requests`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Answering(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
