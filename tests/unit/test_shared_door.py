# SPDX-License-Identifier: Apache-2.0
"""The door that handlers on the machine's own network share: each is told from others, and from strangers."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.unit.test_platform_door import House, asked, house, request

from longshore.domain.secret import Plaintext
from longshore.interceptor import shared_door
from longshore.interceptor.shared_door import SharedDoor

pytestmark = pytest.mark.anyio


@dataclass
class Street:
    """Two cells that share a door, and what the platform behind them hears."""

    shared: SharedDoor
    first: House
    second: House
    heard: list[bytes] = field(default_factory=list)

    @property
    def where(self) -> tuple[str, int]:
        """The shared door's address."""
        return "127.0.0.1", self.shared.port


@contextlib.asynccontextmanager
async def street(*users: int | None) -> AsyncIterator[Street]:
    """Whose cells belong to these users, and have runs with the tokens lsh_1 and lsh_2."""
    async with house(is_private=False, run="lsh_1") as first, house(is_private=False, run="lsh_2") as second:
        built = Street(SharedDoor(port=0), first, second)
        for one, user in zip((first, second), users or (None, None), strict=True):
            one.door.shared, one.door.user, one.heard = built.shared, user, built.heard
            assert await one.door.enter() == ()
        yield built


def bearer(word: str) -> bytes:
    return request(f"Authorization: Bearer {word}")


async def test_each_is_known_by_its_word() -> None:
    async with street() as it:
        for one in (it.second, it.first):
            await asked(it.where, bearer(one.door.word.reveal()))

    assert [b"Bearer lsh_2\r\n" in it.heard[0], b"Bearer lsh_1\r\n" in it.heard[1]] == [True, True]


async def test_a_stranger_gets_nowhere() -> None:
    async with street() as it:
        answers = [await asked(it.where, one) for one in (request(), bearer("run"), bearer("lsh_1"))]

    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 401 Unauthorized"] * 3
    assert it.heard == []


async def test_who_has_a_user_of_its_own_is_known_by_it() -> None:
    async with street(12345, os.geteuid()) as it:
        for word in ("run", it.second.door.word.reveal(), "lsh_another"):
            await asked(it.where, bearer(word))
        await asked(it.where, request())

    tokens = [b"lsh_2", b"lsh_2", b"lsh_another", b"lsh_2"]
    assert [token in heard for token, heard in zip(tokens, it.heard, strict=True)] == [True] * 4


async def test_the_next_run_comes_in_its_own_name() -> None:
    async with street() as it:
        word = it.first.door.word.reveal()
        reader, writer = await asyncio.open_connection(*it.where)
        writer.write(bearer(word)[:20])
        await asked(it.where, bearer(word))  # by now the door knows of both
        it.first.door.end()
        between = await asked(it.where, bearer(word))
        it.first.door.begin(Plaintext("lsh_3"))
        writer.write(bearer(word)[20:])
        late = await asyncio.wait_for(reader.read(), 10)
        await asked(it.where, bearer(word))
        writer.close()

    assert between.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert late.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert [b"lsh_1" in it.heard[0], b"lsh_3" in it.heard[1], len(it.heard)] == [True, True, 2]


async def test_it_is_open_while_anybody_needs_it() -> None:
    async with street() as it:
        port = it.shared.port
        await it.first.door.close()
        assert await asked(it.where, bearer(it.second.door.word.reveal())) != b""
        await it.second.door.close()

        with pytest.raises(ConnectionRefusedError):
            await asked(("127.0.0.1", port), request())
        assert await it.first.door.enter() == ()
        assert it.shared.port == port


async def test_a_port_that_is_taken_is_said() -> None:
    async with house(is_private=False) as one:
        with socket.create_server(("127.0.0.1", 0)) as other:
            one.door.shared = SharedDoor(port=other.getsockname()[1])
            [notice] = await one.door.enter()
        again = await one.door.enter()

    assert "the platform is not at 127.0.0.1:" in notice
    assert "Address already in use" in notice
    assert "LONGSHORE_URL says where it is" in notice
    assert again == ()


def test_whose_a_connection_is_is_the_kernel_s_to_say() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as one:
        host, port = one.getsockname()
        to_port = door.getsockname()[1]

        assert shared_door.owner(host, port, to_port) == os.geteuid()
        assert shared_door.owner(host, 1, to_port) is None
        assert shared_door.owner("::1", port, to_port) is None
