# SPDX-License-Identifier: Apache-2.0
"""The Runtime API by frames: the same table as over HTTP, whatever is sent."""

import asyncio

import pytest
from tests.runtime_api.runtime import served
from tests.runtime_api.test_server import CALL, Client, connected, response

from longshore.runtime_api.bootstrap.python import HELLO as CLIENTS_HELLO
from longshore.runtime_api.server import InitDone, Response
from longshore.runtime_api.wire import HELLO, MAX_FRAME_BYTES

pytestmark = pytest.mark.anyio
NEXT = b"\0\0\0\1N"


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def answered(body: bytes, request_id: bytes = b"run-1") -> bytes:
    return framed(b"R%s\0application/json\0%s" % (request_id, body))


async def heard(client: Client) -> tuple[int, dict[str, str], bytes]:
    """One frame: status, headers, body."""
    frame = await client.reader.readexactly(int.from_bytes(await client.reader.readexactly(4), "big"))
    status, size = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[2:6], "big")
    words = frame[6 : 6 + size].decode().split("\0")
    return status, dict(zip(words[::2], words[1::2], strict=True)), frame[6 + size :]


def test_both_sides_begin_with_the_same_word() -> None:
    assert HELLO == CLIENTS_HELLO


async def test_an_event_goes_out_and_its_answer_comes_with_the_next_question() -> None:
    async with served() as (api, port), connected(port) as client:
        client.writer.write(HELLO + NEXT)
        assert await api.ready() == InitDone()
        for number in range(3):
            invoking = asyncio.create_task(api.invoke(CALL))
            status, headers, event = await heard(client)
            client.writer.write(answered(b'"%d"' % number) + NEXT)

            assert await invoking == Response(b'"%d"' % number, "application/json")
            assert (status, event) == (200, CALL.event)
            assert headers["Lambda-Runtime-Aws-Request-Id"] == "run-1"
            assert headers["Lambda-Runtime-Deadline-Ms"] == "1"
            assert headers["Content-Type"] == "application/json"


async def test_frames_may_come_in_pieces() -> None:
    async with served() as (api, port), connected(port) as client:
        client.writer.write(HELLO + NEXT)
        invoking = asyncio.create_task(api.invoke(CALL))
        await heard(client)
        for byte in answered(b'"slowly"') + NEXT:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)

        assert await invoking == Response(b'"slowly"', "application/json")


async def test_an_answer_to_another_event_is_refused_and_the_invocation_goes_on() -> None:
    async with served() as (api, port), connected(port) as client:
        client.writer.write(HELLO + NEXT)
        invoking = asyncio.create_task(api.invoke(CALL))
        await heard(client)
        client.writer.write(answered(b"1", b"run-2"))
        status, _, said = await heard(client)
        client.writer.write(answered(b"2") + NEXT)

        assert (status, b"InvalidRequestID" in said) == (400, True)
        assert await invoking == Response(b"2", "application/json")


async def test_what_is_asked_over_http_counts_here_and_the_other_way_round() -> None:
    async with served() as (api, port), connected(port) as client, connected(port) as http:
        client.writer.write(HELLO + NEXT)
        invoking = asyncio.create_task(api.invoke(CALL))
        await heard(client)
        assert (await http.say(response(b'"over http"')))[0] == 202
        assert await invoking == Response(b'"over http"', "application/json")

        client.writer.write(answered(b'"too late"'))
        status, _, said = await heard(client)
        assert (status, b"InvalidStateTransition" in said) == (403, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\0",
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        framed(b"X"),
        framed(b"Rno separator"),
        framed(b"Rone\0only"),
        b"\xff" * 100,
    ],
    ids=["empty", "too large", "unknown", "no id", "no type", "noise"],
)
async def test_nonsense_ends_the_connection_and_nothing_else(sent: bytes) -> None:
    async with served() as (api, port), connected(port) as bad, connected(port) as good:
        bad.writer.write(HELLO + sent)
        assert await bad.is_closed()

        good.writer.write(HELLO + NEXT)
        invoking = asyncio.create_task(api.invoke(CALL))
        await heard(good)
        good.writer.write(answered(b"{}") + NEXT)
        assert await invoking == Response(b"{}", "application/json")


async def test_a_connection_that_goes_while_it_waits_is_forgotten() -> None:
    async with served() as (api, port):
        async with connected(port) as gone:
            gone.writer.write(HELLO + NEXT)
            assert await api.ready() == InitDone()
        async with connected(port) as client:
            client.writer.write(HELLO + NEXT)
            invoking = asyncio.create_task(api.invoke(CALL))
            status, _, event = await heard(client)
            client.writer.write(answered(b"{}") + NEXT)

            assert (status, event) == (200, CALL.event)
            assert await invoking == Response(b"{}", "application/json")
