# SPDX-License-Identifier: Apache-2.0
"""The platform's door: a head is read, gets the run's token, and the rest is carried as it comes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from longshore.domain.secret import Plaintext
from longshore.interceptor.platform_door import BadHead, PlatformDoor, head_of

pytestmark = pytest.mark.anyio
TOKEN = "lsh_the-runs-own"


@dataclass
class House:
    """A door in a cell, and what the server behind it gets; it always says the same."""

    door: PlatformDoor
    heard: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    @property
    def where(self) -> tuple[str, int]:
        """The door's address."""
        host, port = self.door.door.getsockname()
        return host, port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            if b"Content-Length: 5\r\n" in self.heard[-1]:
                self.heard.append(await reader.readexactly(5))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def house(*, is_private: bool = True, run: str | None = TOKEN) -> AsyncIterator[House]:
    """One whose run has this token."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        built = House(PlatformDoor("", door, is_private))
        server = await asyncio.start_server(built.serve, "127.0.0.1", 0)
        built.door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        built.door.open()
        if run is not None:
            built.door.begin(Plaintext(run))
        yield built
        await built.door.close()
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
    async with house() as it:
        answer = await asked(it.where, request(*given, "Content-Length: 5", body="12345"))

    assert answer.endswith(b"hi")
    assert it.heard[0].lower().count(b"authorization:") == 1
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in it.heard[0]
    assert it.heard[0].startswith(b"POST /api/v1/me HTTP/1.1\r\nHost: 127.0.0.1:9002\r\n")
    assert it.heard[1] == b"12345"


@pytest.mark.parametrize("is_private", [True, False])
async def test_a_token_of_ours_stays(is_private: bool) -> None:
    async with house(is_private=is_private) as it:
        await asked(it.where, request("Authorization: Bearer lsh_another"))

    assert b"lsh_another" in it.heard[0]
    assert TOKEN.encode() not in it.heard[0]


async def test_where_others_can_come_only_who_knows_the_word_gets_the_runs_token() -> None:
    async with house(is_private=False) as it, house(is_private=False) as neighbour:
        word = it.door.word.reveal()
        await asked(it.where, request(f"Authorization: Bearer {word}"))
        await asked(it.where, request("Authorization: Bearer run"))
        await asked(it.where, request())
        await asked(it.where, request(f"Authorization: Bearer {word}", f"Authorization: Bearer {word}"))
        await asked(neighbour.where, request(f"Authorization: Bearer {word}"))

    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in it.heard[0]
    assert word.encode() not in it.heard[0]
    assert [head.count(TOKEN.encode()) for head in [*it.heard[1:], *neighbour.heard]] == [0] * 4
    assert b"Authorization: Bearer run\r\n" in it.heard[1]
    assert len(word) > 32


async def test_the_next_run_comes_in_its_own_name() -> None:
    async with house() as it:
        await asked(it.where, request())
        it.door.end()
        between = await asked(it.where, request())
        it.door.begin(Plaintext("lsh_the-next"))
        await asked(it.where, request())

    assert between.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"no run is under way" in between
    assert [TOKEN.encode() in head for head in it.heard] == [True, False]
    assert b"lsh_the-next" in it.heard[1]


@pytest.mark.parametrize("sent", [b"", b"POST /api/v1/me HTTP/1.1\r\n"])
async def test_what_a_run_has_begun_does_not_become_the_next_ones(sent: bytes) -> None:
    async with house() as it:
        reader, writer = await asyncio.open_connection(*it.where)
        writer.write(sent)
        await asked(it.where, request())  # by now the door knows of both
        it.door.end()
        it.door.begin(Plaintext("lsh_the-next"))

        with contextlib.suppress(OSError):
            writer.write(request().removeprefix(sent))
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    assert len(it.heard) == 1


async def test_who_came_before_the_run_and_was_not_let_in_is_turned_away() -> None:
    async with house(run=None) as it:
        with socket.create_connection(it.where) as early:  # at the door, and the loop has not seen it yet
            early.sendall(request())
            it.door.begin(Plaintext(TOKEN))
            reader, writer = await asyncio.open_connection(sock=early.dup())
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        await asked(it.where, request())

    assert len(it.heard) == 1


async def test_an_answer_that_nobody_reads_holds_nobody_up() -> None:
    async with house() as it:
        it.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
        reader, writer = await asyncio.open_connection(*it.where, limit=1)
        writer.write(request())
        await reader.read(1)

        it.door.end()
        await asyncio.wait_for(it.door.close(), 10)

        writer.transport.abort()


async def test_every_request_is_the_last_of_its_connection() -> None:
    async with house() as it:
        await asked(it.where, request("Connection: keep-alive", "Keep-Alive: timeout=5"))
        await asked(it.where, request("Connection: Upgrade", "Upgrade: websocket"))

    assert b"Connection: close\r\n" in it.heard[0]
    assert b"keep-alive" not in it.heard[0].lower()
    assert b"Connection: Upgrade\r\n" in it.heard[1]


async def test_a_platform_that_is_down_is_a_502() -> None:
    async with house() as it:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            it.door.url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            answer = await asked(it.where, request())

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"the platform does not answer" in answer


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET /\r\n\r\n"])
async def test_what_is_no_request_is_a_400_and_goes_nowhere(raw: bytes) -> None:
    async with house() as it:
        answer = await asked(it.where, raw)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert it.heard == []


async def test_an_endless_head_is_a_400() -> None:
    async with house() as it:
        answer = await asked(it.where, b"GET / HTTP/1.1\r\nA: " + b"x" * 300_000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert it.heard == []


@pytest.mark.parametrize("header", [b"A b", b" A: b", b"A : b", b": b", b"A: b\nC: d", b"A: b\rC: d"])
def test_a_header_that_could_be_read_in_two_ways_is_refused(header: bytes) -> None:
    with pytest.raises(BadHead):
        head_of(b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n")
