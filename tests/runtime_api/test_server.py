# SPDX-License-Identifier: Apache-2.0
"""The Runtime API's server against whatever user code may send to it, byte by byte."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator

import pytest
import uvloop
from tests.runtime_api.runtime import listening, served

from longshore.domain.errors import Conflict
from longshore.runtime_api import server
from longshore.runtime_api.server import Call, Failure, InitDone, InitFailed, Response, RuntimeApi

pytestmark = pytest.mark.anyio
CALL = Call(request_id="run-1", deadline_ms=1, arn="arn", event=b'{"hello":"there"}')
NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"
RESPONSE = b"POST /2018-06-01/runtime/invocation/run-1/response HTTP/1.1\r\nHost: x\r\n"


class Client:
    """A connection that is written to by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes, read one response."""
        self.writer.write(raw)
        return await self.hear()

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Whether the other side has nothing more to say."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read() == b""
        return True


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def response(body: bytes) -> bytes:
    return RESPONSE + b"Content-Length: %d\r\n\r\n" % len(body) + body


@contextlib.asynccontextmanager
async def invoked() -> AsyncIterator[tuple[RuntimeApi, int, Client, "asyncio.Task[Response | Failure]"]]:
    """A runtime that has the event of run-1 in hand, and the invoker waiting for its answer."""
    async with served() as (api, port), connected(port) as client:
        invoking = asyncio.create_task(api.invoke(CALL))
        await client.say(NEXT)
        yield api, port, client, invoking
        invoking.cancel()
        await asyncio.gather(invoking, return_exceptions=True)


async def test_an_event_and_its_answer() -> None:
    async with invoked() as (api, _, client, invoking):
        status, _, body = await client.say(response(b"[42]"))

        assert (status, body) == (202, b'{"status":"OK"}')
        assert await api.ready() == InitDone()
        assert await invoking == Response(b"[42]", "application/json")


async def test_the_runtime_may_wait_before_there_is_an_event_and_after() -> None:
    async with served() as (api, port), connected(port) as client:
        for number in range(5):
            client.writer.write(NEXT)
            await api.ready()
            invoking = asyncio.create_task(api.invoke(CALL))
            status, headers, body = await client.hear()
            await client.say(response(str(number).encode()))

            assert status == 200
            assert headers["lambda-runtime-aws-request-id"] == "run-1"
            assert headers["content-type"] == "application/json"
            assert body == CALL.event
            assert await invoking == Response(str(number).encode(), "application/json")


async def test_whether_the_runtime_asks_for_more_is_known_or_waited_for() -> None:
    async with invoked() as (api, _, client, invoking):
        assert not await api.asks(within=0.01)
        await client.say(response(b"1"))
        await invoking
        assert not await api.asks(within=0.01)

        asking = asyncio.create_task(api.asks(within=30))
        client.writer.write(NEXT)

        assert await asking
        assert await api.asks(within=0)


async def test_one_event_at_a_time() -> None:
    async with invoked() as (api, _, _, _):
        with pytest.raises(Conflict):
            await api.invoke(CALL)


async def test_a_runtime_that_went_away_while_waiting_gets_no_event() -> None:
    async with served() as (api, port):
        async with connected(port) as gone:
            gone.writer.write(NEXT)
            await api.ready()
        async with connected(port) as client:
            await client.say(b"GET /ping HTTP/1.1\r\n\r\n")
            invoking = asyncio.create_task(api.invoke(CALL))
            assert (await client.say(NEXT))[2] == CALL.event
            await client.say(response(b"1"))
            assert await invoking == Response(b"1", "application/json")


async def test_a_chunked_answer_with_and_without_streaming_mode() -> None:
    chunks = b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    for mode in (b"", b"Lambda-Runtime-Function-Response-Mode: streaming\r\n"):
        async with invoked() as (_, _, client, invoking):
            status, _, _ = await client.say(RESPONSE + mode + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)

            assert status == 202
            assert await invoking == Response(b"[1,2]", "application/json")


async def test_a_stream_that_fails_half_way_says_so_in_its_trailers() -> None:
    async with invoked() as (_, _, client, invoking):
        status, _, _ = await client.say(
            RESPONSE
            + b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            + b"Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n5\r\nhello\r\n0\r\n"
            + b"Lambda-Runtime-Function-Error-Type: Function.Broke\r\n"
            + b"Lambda-Runtime-Function-Error-Body: e30=\r\n\r\n"
        )

        assert status == 202
        assert await invoking == Failure(b"{}", "Function.Broke")


async def test_who_waits_for_permission_to_send_gets_it() -> None:
    async with invoked() as (_, _, client, invoking):
        client.writer.write(RESPONSE + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.hear())[0] == 100

        assert (await client.say(b"1"))[0] == 202
        assert await invoking == Response(b"1", "application/json")


async def test_who_waits_for_permission_to_send_nonsense_is_told_at_once() -> None:
    async with invoked() as (_, _, client, _):
        raw = RESPONSE.replace(b"run-1", b"run-2") + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        assert (await client.say(raw))[0] == 400
        assert await client.is_closed()


async def test_another_connection_with_a_foreign_id_does_not_disturb_the_run() -> None:
    async with invoked() as (_, port, client, invoking):
        async with connected(port) as hostile:
            for _ in range(3):
                status, _, body = await hostile.say(response(b"666").replace(b"run-1", b"run-2"))
                assert (status, json.loads(body)["errorType"]) == (400, "InvalidRequestID")
            status, _, body = await hostile.say(
                b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")

        await client.say(response(b"1"))
        assert await invoking == Response(b"1", "application/json")


async def test_the_first_of_two_answers_counts() -> None:
    async with invoked() as (_, _, client, invoking):
        assert (await client.say(response(b"1")))[0] == 202
        assert (await client.say(response(b"2")))[0] == 403
        assert await invoking == Response(b"1", "application/json")


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_of_50_mb_is_refused_and_never_held(announced: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size, piece = 50 * 1024 * 1024, b"x" * 65536
    async with invoked() as (_, _, client, invoking):
        how = b"Content-Length: %d\r\n\r\n" % size if announced else b"Transfer-Encoding: chunked\r\n\r\n"
        client.writer.write(RESPONSE + how)
        with contextlib.suppress(ConnectionError):
            for _ in range(size // len(piece)):
                client.writer.write(piece if announced else b"10000\r\n" + piece + b"\r\n")
                await client.writer.drain()
        status, headers, body = await client.hear()

        assert status == 413
        assert headers["connection"] == "close"
        assert json.loads(body)["errorType"] == "RequestEntityTooLarge"
        answer = await invoking
        assert isinstance(answer, Failure)
        assert answer.type == "Function.ResponseSizeTooLarge"
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 40 * 1024


async def test_an_answer_that_breaks_off_is_none_and_may_be_repeated() -> None:
    async with invoked() as (_, port, client, invoking):
        async with connected(port) as broken:
            broken.writer.write(RESPONSE + b"Content-Length: 100\r\n\r\nhalf")
            await broken.writer.drain()
            broken.writer.write_eof()
            status, _, body = await broken.hear()
            assert (status, json.loads(body)["errorType"]) == (400, "TruncatedHTTPRequest")

        assert not invoking.done()
        assert (await client.say(response(b"1")))[0] == 202
        assert await invoking == Response(b"1", "application/json")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"HELLO /ping HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/9.9\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nxxxx",
        b"GET /ping HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nxxxx",
        RESPONSE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_garbage_gets_one_refusal_and_the_run_goes_on(garbage: bytes) -> None:
    async with invoked() as (_, port, client, invoking):
        async with connected(port) as hostile:
            status, _, _ = await hostile.say(garbage)
            assert status in (200, 400, 404)

        assert (await client.say(response(b"1")))[0] == 202
        assert await invoking == Response(b"1", "application/json")


async def test_a_ping_is_answered_again_and_again_also_at_once() -> None:
    async with served() as (_, port), connected(port) as client:
        ping = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
        client.writer.write(ping * 50)
        for _ in range(50):
            status, headers, body = await client.hear()
            assert (status, body) == (200, b"pong")
            assert "connection" not in headers


async def test_who_wants_the_end_of_the_connection_gets_it() -> None:
    async with served() as (_, port):
        for ping in (b"GET /ping HTTP/1.0\r\n\r\n", b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n"):
            async with connected(port) as client:
                assert (await client.say(ping))[0] == 200
                assert await client.is_closed()


async def test_a_request_behind_one_that_waits_is_refused_and_frees_its_place() -> None:
    async with served() as (api, port):
        async with connected(port) as hasty:
            assert (await hasty.say(NEXT + NEXT))[0] == 400
            assert await hasty.is_closed()
        async with connected(port) as client:
            invoking = asyncio.create_task(api.invoke(CALL))
            assert (await client.say(NEXT))[2] == CALL.event
            await client.say(response(b"1"))
            await invoking


async def test_a_head_without_end_is_cut_off() -> None:
    async with served() as (_, port), connected(port) as client:
        client.writer.write(b"GET /ping HTTP/1.1\r\nX: ")
        status = None
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                client.writer.write(b"y" * 65536)
                await client.writer.drain()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            status, _, _ = await client.hear()
        assert status == 431


async def test_trailers_without_end_are_cut_off() -> None:
    async with invoked() as (_, port, client, invoking):
        async with connected(port) as hostile:
            hostile.writer.write(RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(64):
                    hostile.writer.write(b"y" * 65536)
                    await hostile.writer.drain()
            assert (await hostile.hear())[0] == 431
        assert (await client.say(response(b"1")))[0] == 202
        await invoking


async def test_a_one_megabyte_xray_header_is_taken() -> None:
    async with invoked() as (_, _, client, invoking):
        status, _, _ = await client.say(
            b"POST /2018-06-01/runtime/invocation/run-1/error HTTP/1.1\r\n"
            b"Lambda-Runtime-Function-XRay-Error-Cause: " + b"c" * 2**20 + b"\r\nContent-Length: 2\r\n\r\n{}"
        )

        assert status == 202
        assert await invoking == Failure(b"{}", None)


async def test_a_slow_head_is_given_up_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_WITHIN_S", 0.1)
    async with invoked() as (_, port, client, invoking):
        async with connected(port) as slow:
            slow.writer.write(b"GET /ping HT")
            assert (await slow.hear())[0] == 408
            assert await slow.is_closed()
        assert (await client.say(response(b"1")))[0] == 202
        await invoking


async def test_so_many_connections_and_no_more() -> None:
    async with invoked() as (_, port, client, invoking):
        async with contextlib.AsyncExitStack() as stack:
            held = []
            for _ in range(server.MAX_CONNECTIONS - 1):
                held.append(await stack.enter_async_context(connected(port)))
                assert (await held[-1].say(b"GET /ping HTTP/1.1\r\n\r\n"))[0] == 200
            one_more = await stack.enter_async_context(connected(port))
            assert (await one_more.hear())[0] == 503
            assert await one_more.is_closed()
            assert (await held[0].say(b"GET /ping HTTP/1.1\r\n\r\n"))[0] == 200
        assert (await client.say(response(b"1")))[0] == 202
        await invoking


async def test_whoever_never_reads_does_not_fill_our_memory() -> None:
    sent = 0
    async with served() as (_, port), connected(port) as deaf:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    deaf.writer.write(b"GET /ping HTTP/1.1\r\n\r\n" * 1000)
                    await deaf.writer.drain()
                    sent += 26_000
        assert sent < 64 * 2**20  # it was stopped: the kernel's buffers are full, ours are not
        async with connected(port) as client:
            assert (await client.say(b"GET /ping HTTP/1.1\r\n\r\n"))[0] == 200
        deaf.writer.transport.abort()


async def test_a_failed_init() -> None:
    async with served() as (api, port), connected(port) as client:
        status, _, _ = await client.say(
            b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n"
            b"Lambda-Runtime-Function-Error-Type: Runtime.HandlerNotFound\r\nContent-Length: 2\r\n\r\n{}"
        )

        assert status == 202
        assert await api.ready() == InitFailed(b"{}", "Runtime.HandlerNotFound")


async def test_waiting_for_the_init_may_be_given_up_and_begun_again() -> None:
    async with served() as (api, port):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await api.ready()
        async with connected(port) as client:
            client.writer.write(NEXT)
            assert await api.ready() == InitDone()


async def test_the_listening_socket_stays_its_owners() -> None:
    with listening() as door:
        for _ in range(2):
            api = RuntimeApi(door)
            await api.start()
            async with connected(door.getsockname()[1]) as client:
                assert (await client.say(b"GET /ping HTTP/1.1\r\n\r\n"))[0] == 200
                await api.close()
                assert await client.is_closed()
        assert door.fileno() >= 0


def test_it_runs_on_uvloop_too() -> None:
    async def conversation() -> None:
        async with invoked() as (_, port, client, invoking):
            async with connected(port) as hostile:
                assert (await hostile.say(b"\0\0\r\n\r\n"))[0] == 400
            assert (await client.say(response(b"1")))[0] == 202
            assert await invoking == Response(b"1", "application/json")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(conversation())
