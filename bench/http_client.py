# SPDX-License-Identifier: Apache-2.0
"""A cheap HTTP client: one request said again and again over connections that stay open, on its own core.

    echo '{"port": ..., "request": ..., ...}' | python -m bench.http_client

It costs 10 to 20 microseconds a request and says how busy it was, so that nobody takes its limit for the
server's.
"""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from bench.child import ROOT
from bench.machine import CLIENT_CORES, on

WARM_UP_S = 0.2
MOST_VALUES = 4000
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request to a port of this machine, and what a right answer has in it."""

    port: int
    request: str
    expect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of asking: some of the latencies, evenly picked; answers a second; the client's own share of
    a core."""

    latencies_ms: list[float]
    answers: int
    seconds: float
    busy: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def written(method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> str:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode()


def load(
    target: Target,
    *,
    clients: int = 1,
    seconds: float = 0.0,
    count: int = 0,
    cores: Iterable[int] = CLIENT_CORES,
) -> Load:
    """Ask for so long, or so many times, from a process of its own. Raises when an answer was wrong."""
    asked = {**asdict(target), "clients": clients, "seconds": seconds, "count": count}
    with on(cores):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.http_client"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    said, errors = process.communicate(json.dumps(asked), timeout=seconds + 300)
    if process.returncode:
        raise RuntimeError((errors.strip().splitlines() or ["the client failed"])[-1][:300])
    return Load(**json.loads(said))


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The whole answer, head and body. Raises unless it says 2xx."""
        self.socket.sendall(request)
        answer = b""
        while not is_whole(answer):
            piece = self.socket.recv(1 << 18)
            if not piece:
                raise RuntimeError("the server hung up")
            answer += piece
        return checked(answer, b"")

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def is_whole(answer: bytes) -> bool:
    """Whether nothing of it is missing."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = _LENGTH.search(head)
    if length is not None:
        return len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n") if _CHUNKED.search(head) else True


def checked(answer: bytes, expect: bytes) -> bytes:
    """The answer; raises unless it is a good one."""
    if answer[9:10] != b"2" or expect not in answer:
        raise RuntimeError(f"a wrong answer: {answer[:300]!r}")
    return answer


def _drive(target: Target, clients: int, seconds: float, count: int) -> Load:
    request, expect = target.request.encode(), target.expect.encode()
    doors = {one.socket.fileno(): one.socket for one in (Connection(target.port) for _ in range(clients))}
    poll = select.epoll()
    left = count - clients if count else sys.maxsize
    warm_up = 0.0 if count else WARM_UP_S
    sent: dict[int, float] = {}
    parts: dict[int, bytes] = {}
    latencies: list[float] = []
    began = time.perf_counter()
    cpu = time.process_time()
    for door, connection in doors.items():
        poll.register(door, select.EPOLLIN)
        sent[door], parts[door] = time.perf_counter(), b""
        connection.sendall(request)
    while sent:
        for door, _ in poll.poll():
            piece = doors[door].recv(1 << 18)
            answer = parts[door] + piece if parts[door] else piece
            if not is_whole(answer):
                if not piece:
                    raise RuntimeError("the server hung up")
                parts[door] = answer
                continue
            now = time.perf_counter()
            checked(answer, expect)
            if sent[door] - began >= warm_up:
                latencies.append((now - sent[door]) * 1000)
            parts[door] = b""
            if left > 0 and (count or now - began < warm_up + seconds):
                left -= 1
                sent[door] = time.perf_counter()
                doors[door].sendall(request)
            else:
                del sent[door]
    took = time.perf_counter() - began
    return Load(
        latencies_ms=latencies[:: len(latencies) // MOST_VALUES + 1],
        answers=len(latencies),
        seconds=took - warm_up,
        busy=(time.process_time() - cpu) / took,
    )


def main() -> None:
    """Ask as standard input says."""
    asked = json.load(sys.stdin)
    clients, seconds, count = asked.pop("clients"), asked.pop("seconds"), asked.pop("count")
    json.dump(asdict(_drive(Target(**asked), clients, seconds, count)), sys.stdout)


if __name__ == "__main__":
    main()
