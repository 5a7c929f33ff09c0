# SPDX-License-Identifier: Apache-2.0
"""The platform's door: a head is read, gets the run's token, and the rest is carried as it comes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from longshore.domain.secret import Plaintext
from longshore.interceptor.doors import Doors
from longshore.interceptor.platform_door import BadHead, head_of, platform

pytestmark = pytest.mark.anyio
TOKEN = "lsh_the-runs-own"


@contextlib.asynccontextmanager
async def through(
    token: Plaintext | None, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
) -> AsyncIterator[tuple[tuple[str, int], list[bytes]]]:
    """A door to a server that notes what it gets and always says the same; where the door is."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        if b"Content-Length: 5\r\n" in heard[0]:
            heard.append(await reader.readexactly(5))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    doors = Doors()
    with socket.create_server(("127.0.0.1", 0)) as door:
        await doors.open(door, platform(url, token))
        yield door.getsockname(), heard
        await doors.close()
    server.close()
    await server.wait_closed()


async def asked(where: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


def request(*headers: str, body: str = "") -> bytes:
    return (
        "".join(
            f"{line}\r\n" for line in ("POST /api/v1/me HTTP/1.1", "Host: 127.0.0.1:9002", *headers, "")
        ).encode()
        + body.encode()
    )


@pytest.mark.parametrize(
    "given", [(), ("Authorization: Bearer run",), ("authorization: Basic eDp5",), ("Authorization:",)]
)
async def test_a_request_without_a_token_of_ours_gets_the_runs(given: Sequence[str]) -> None:
    async with through(Plaintext(TOKEN)) as (where, heard):
        answer = await asked(where, request(*given, "Content-Length: 5", body="12345"))

    assert answer.endswith(b"hi")
    assert heard[0].lower().count(b"authorization:") == 1
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in heard[0]
    assert heard[0].startswith(b"POST /api/v1/me HTTP/1.1\r\nHost: 127.0.0.1:9002\r\n")
    assert heard[1] == b"12345"


async def test_a_token_of_ours_stays() -> None:
    async with through(Plaintext(TOKEN)) as (where, heard):
        await asked(where, request("Authorization: Bearer lsh_another"))

    assert b"lsh_another" in heard[0]
    assert TOKEN.encode() not in heard[0]


async def test_a_door_that_others_can_reach_adds_no_token() -> None:
    async with through(None) as (where, heard):
        await asked(where, request("Authorization: Bearer run"))

    assert b"Authorization: Bearer run\r\n" in heard[0]


async def test_every_request_is_the_last_of_its_connection() -> None:
    async with through(None) as (where, heard):
        await asked(where, request("Connection: keep-alive", "Keep-Alive: timeout=5"))
        await asked(where, request("Connection: Upgrade", "Upgrade: websocket"))

    assert b"Connection: close\r\n" in heard[0]
    assert b"keep-alive" not in heard[0].lower()
    assert b"Connection: Upgrade\r\n" in heard[1]


async def test_a_platform_that_is_down_is_a_502() -> None:
    with socket.socket() as nobody, socket.create_server(("127.0.0.1", 0)) as door:
        nobody.bind(("127.0.0.1", 0))
        doors = Doors()
        await doors.open(door, platform(f"http://127.0.0.1:{nobody.getsockname()[1]}", None))
        answer = await asked(door.getsockname(), request())
        await doors.close()

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"the platform does not answer" in answer


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET /\r\n\r\n"])
async def test_what_is_no_request_is_a_400_and_goes_nowhere(raw: bytes) -> None:
    async with through(Plaintext(TOKEN)) as (where, heard):
        answer = await asked(where, raw)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert heard == []


async def test_an_endless_head_is_a_400() -> None:
    async with through(Plaintext(TOKEN)) as (where, heard):
        answer = await asked(where, b"GET / HTTP/1.1\r\nA: " + b"x" * 300_000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert heard == []


@pytest.mark.parametrize("header", [b"A b", b" A: b", b"A : b", b": b", b"A: b\nC: d", b"A: b\rC: d"])
def test_a_header_that_could_be_read_in_two_ways_is_refused(header: bytes) -> None:
    with pytest.raises(BadHead):
        head_of(b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n")
