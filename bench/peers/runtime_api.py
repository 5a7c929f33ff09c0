# SPDX-License-Identifier: Apache-2.0
"""The least that can stand between an HTTP client and AWS's own runtime client: no record, no log, no limit.

    python -m bench.peers.runtime_api PORT WORKERS COMMAND ...

POST / hands its body to a worker (COMMAND, which asks the Runtime API for it) and answers with its result.
"""

import asyncio
import os
import sys
from collections import deque

import httptools
import uvloop

NEXT = b"/2018-06-01/runtime/invocation/next"


class Desk:
    """Who waits for whom."""

    def __init__(self) -> None:
        self.workers: deque[_Door] = deque()
        self.events: deque[tuple[_Door, bytes]] = deque()
        self.asked: dict[str, _Door] = {}
        self._last = 0

    def give_out(self) -> None:
        """Events to workers, as long as there are both."""
        while self.workers and self.events:
            client, event = self.events.popleft()
            self._last += 1
            self.asked[str(self._last)] = client
            head = (
                f"Lambda-Runtime-Aws-Request-Id: {self._last}\r\n"
                "Lambda-Runtime-Deadline-Ms: 9999999999999\r\n"
                "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x:0:function:bench\r\n"
            )
            self.workers.popleft().write(event, head=head)

    def take_back(self, path: bytes, result: bytes) -> None:
        """A result to whoever asked for it."""
        request, _, kind = path.decode().removeprefix("/2018-06-01/runtime/invocation/").partition("/")
        self.asked.pop(request).write(result, status="200 OK" if kind == "response" else "502 Bad Gateway")


class _Door(asyncio.Protocol):
    """A connection, of a worker or a client."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are so by shape

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.path, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.path == NEXT:
            self.desk.workers.append(self)
        elif self.path.startswith(b"/2018-06-01/"):
            self.desk.take_back(self.path, self.body)
            self.write(b"{}", status="202 Accepted")
        else:
            self.desk.events.append((self, self.body))
        self.desk.give_out()

    def write(self, body: bytes, *, status: str = "200 OK", head: str = "") -> None:
        """An answer."""
        lines = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{head}Content-Length: {len(body)}\r\n"
        )
        self.transport.write(f"{lines}\r\n".encode() + body)


async def serve(port: int, workers: int, command: list[str]) -> None:
    """Until it is ended."""
    desk = Desk()
    server = await asyncio.get_running_loop().create_server(lambda: _Door(desk), "127.0.0.1", port)
    environment = {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "b",
    }
    for _ in range(workers):
        await asyncio.create_subprocess_exec(*command, env=environment)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
