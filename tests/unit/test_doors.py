# SPDX-License-Identifier: Apache-2.0
"""Doors lead to exactly one pair each, both ways, within bounds, and close with the run."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from longshore.domain.network import Address
from longshore.interceptor import doors
from longshore.interceptor.doors import Doors, leads_to

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def door_to(host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """An open door; where it is."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        opened = Doors()
        opened.open(door, leads_to(Address(host, port)))
        try:
            yield door.getsockname()
        finally:
            await opened.close()


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything again, once it has heard all of it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(await reader.read())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def said_through(where: tuple[str, int], words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    try:
        writer.write(words)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_bytes_go_both_ways_and_ends_are_told() -> None:
    words = bytes(range(256)) * 4096

    async with echo() as port, door_to("127.0.0.1", port) as where:
        heard = await asyncio.gather(*(said_through(where, words) for _ in range(8)))

    assert heard == [words] * 8


async def test_a_pair_that_does_not_answer_closes_the_door_in_front_of_one_caller() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with door_to("127.0.0.1", nobody.getsockname()[1]) as where:
            first = await said_through(where, b"")
            second = await said_through(where, b"")

    assert (first, second) == (b"", b"")


async def test_a_name_does_not_lead_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def lying(host: str, port: int, **more: int) -> object:
        return await real("127.0.0.1" if host == "evil.example" else host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", lying)
    async with echo() as port, door_to("evil.example", port) as where:
        heard = await said_through(where, b"hello")

    assert heard == b""


async def test_too_many_at_once_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "MOST_CONNECTIONS", 2)
    async with echo() as port, door_to("127.0.0.1", port) as where:
        held = [await asyncio.open_connection(*where) for _ in range(2)]
        await asyncio.sleep(0.05)

        refused = await said_through(where, b"")

        for _, writer in held:
            writer.write_eof()
        heard = [await reader.read() for reader, _ in held]
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
    assert refused == b""
    assert heard == [b"", b""]


async def test_what_goes_on_ends_with_the_run() -> None:
    async with echo() as port:
        async with door_to("127.0.0.1", port) as where:
            reader, writer = await asyncio.open_connection(*where)
            writer.write(b"half a")
            await writer.drain()
            await asyncio.sleep(0.05)

        left = await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    assert left == b""


async def test_who_is_cut_before_they_were_received_leaves_no_descriptor() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as door:
        opened = Doors()
        opened.open(door, leads_to(Address("127.0.0.1", 9)))
        loop = asyncio.get_running_loop()
        with socket.create_connection(door.getsockname()) as caller:
            loop.call_later(0, opened.cut)
            for _ in range(3):
                opened.cut()
                await asyncio.sleep(0)
            caller.setblocking(False)
            heard = await asyncio.wait_for(loop.sock_recv(caller, 1), 10)
        await opened.close()

    assert heard == b""
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_a_door_for_whom_there_is_no_descriptor_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "AGAIN_AFTER_S", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with echo() as port, door_to("127.0.0.1", port) as where:
        caller = socket.create_connection(where)
        resource.setrlimit(resource.RLIMIT_NOFILE, (caller.fileno(), hard))
        try:
            await asyncio.sleep(0.02)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reader, writer = await asyncio.open_connection(sock=caller)
        writer.write(b"patience")
        writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert heard == b"patience"
