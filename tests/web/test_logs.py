# SPDX-License-Identifier: Apache-2.0
"""Logs: whole, as they are written, over a stream and over a WebSocket, with readers that leave or dawdle."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.web.conftest import P
from tests.web.house import BASE, Hand, House
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from longshore.domain.logs import Level, LogLine, Stream
from longshore.domain.order import Lease
from longshore.domain.project import Role

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run(api: httpx.AsyncClient, task: str, hand: Hand) -> tuple[str, Lease]:
    """A run under way."""
    run = (await api.post("/tasks/echo/runs")).json()["id"]
    return run, await hand.take()


def address(served: str, run: str, query: str = "") -> str:
    return f"{served.replace('http', 'ws', 1)}{P}/runs/{run}/log/ws{query}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def heard(socket: ClientConnection) -> AsyncIterator[dict[str, object]]:
    async for message in socket:
        yield json.loads(message)


async def test_a_log_is_text_or_json_from_any_line_on(
    api: httpx.AsyncClient, hand: Hand, run: tuple[str, Lease]
) -> None:
    await hand.say(run[1], ["one", "two é", "thr\x1bee"])
    await hand.end(run[1])

    text = await api.get(f"/runs/{run[0]}/log")
    late = await api.get(f"/runs/{run[0]}/log", params={"after": 2, "follow": True})
    lines = await api.get(f"/runs/{run[0]}/log", params={"format": "json", "download": True})

    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [line[24:] for line in text.text.splitlines()] == [
        " stdout one",
        " stdout two é",
        " stdout thr\x1bee",
    ]
    assert text.text[19:24] == ".123Z"
    assert late.text == text.text.splitlines(keepends=True)[2]
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert lines.headers["Content-Disposition"] == f'attachment; filename="{run[0]}.ndjson"'
    first = json.loads(lines.text.splitlines()[0])
    assert first.pop("at").endswith("Z")
    assert first == {"attempt": 1, "seq": 1, "stream": "stdout", "level": None, "text": "one"}


async def test_half_characters_in_a_log_harm_nobody(
    api: httpx.AsyncClient, hand: Hand, run: tuple[str, Lease]
) -> None:
    await hand.say(run[1], ["a\ud800", "\x00\N{RIGHT-TO-LEFT OVERRIDE}"])
    await hand.end(run[1])

    for form in ("text", "json"):
        answer = await api.get(f"/runs/{run[0]}/log", params={"format": form})
        assert answer.status_code == 200
        assert len(answer.text.splitlines()) == 2


LINES = st.lists(
    st.tuples(
        st.text(alphabet=st.characters(codec=None, exclude_characters="\n"), max_size=40),
        st.sampled_from(Stream),
        st.none() | st.sampled_from(Level),
        st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 1, 1)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=LINES)
async def test_any_line_is_told_as_it_was_in_every_form(
    api: httpx.AsyncClient, task: str, hand: Hand, said: list[tuple[str, Stream, Level | None, datetime]]
) -> None:
    run = (await api.post("/tasks/echo/runs")).json()["id"]
    lease = await hand.take()
    lines = [
        LogLine(lease.run, lease.attempt, seq, at.replace(tzinfo=UTC), stream, level, text)
        for seq, (text, stream, level, at) in enumerate(said, 1)
    ]
    await hand.dispatch.log(lease, lines)
    under_way = await api.get(f"/runs/{run}/log", params={"format": "json"})
    await hand.end(lease)

    rows = await api.get(f"/runs/{run}/log", params={"format": "json"})
    text = await api.get(f"/runs/{run}/log")

    assert rows.content == under_way.content
    for line, row in zip(lines, rows.content.decode().split("\n"), strict=False):
        told = json.loads(row)
        assert told["text"] == line.text.encode("utf-8", "replace").decode()
        assert datetime.fromisoformat(told["at"]) == line.at
        assert (told["seq"], told["stream"], told["level"]) == (line.seq, line.stream, line.level)
    assert text.content.decode() == "".join(
        f"{line.at:%Y-%m-%dT%H:%M:%S}.{line.at.microsecond // 1000:03d}Z {line.stream} "
        f"{line.text.encode('utf-8', 'replace').decode()}\n"
        for line in lines
    )


async def test_a_follower_gets_each_line_as_it_comes_and_the_end(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    url = f"{served}{P}/runs/{run[0]}/log"
    async with (
        httpx.AsyncClient(headers=bearer(token)) as client,
        client.stream("GET", url, params={"follow": "true"}, timeout=20) as answer,
    ):
        lines = answer.aiter_lines()
        for text in ("one", "two"):
            await hand.say(run[1], [text])
            assert (await anext(lines)).endswith(f"stdout {text}")
        await hand.end(run[1])
        assert [line async for line in lines] == []


async def test_a_follower_that_leaves_is_forgotten(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    before = len(asyncio.all_tasks())
    url = f"{served}{P}/runs/{run[0]}/log?follow=true"
    async with httpx.AsyncClient(headers=bearer(token)) as client, client.stream("GET", url) as answer:
        await hand.say(run[1], ["one"])
        await anext(answer.aiter_lines())
        assert len(asyncio.all_tasks()) > before

    await settled(before)


async def settled(before: int) -> None:
    """Wait until nothing more is under way than before."""
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.02)


async def test_a_caller_that_hangs_up_while_waiting_is_forgotten(
    served: str, token: str, run: tuple[str, Lease]
) -> None:
    before = len(asyncio.all_tasks())
    async with httpx.AsyncClient(headers=bearer(token)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{served}{P}/runs/{run[0]}?wait=300", timeout=0.3)

    await settled(before)


async def test_watchers_get_the_lines_and_the_run_as_it_ended(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    await hand.say(run[1], ["one"])
    async with connect(address(served, run[0]), additional_headers=bearer(token)) as socket:
        messages = heard(socket)
        assert [line["text"] for line in (await anext(messages))["lines"]] == ["one"]  # type: ignore[attr-defined]
        await hand.say(run[1], ["two"])
        assert [line["seq"] for line in (await anext(messages))["lines"]] == [2]  # type: ignore[attr-defined]
        await hand.end(run[1], '{"a": 1}')
        last = [message async for message in messages]

    assert [(one["end"]["id"], one["end"]["state"], one["end"]["result"]) for one in last] == [  # type: ignore[index]
        (run[0], "succeeded", {"a": 1})
    ]
    assert socket.close_code == 1000


async def test_a_watcher_that_comes_back_goes_on_where_it_was(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    await hand.say(run[1], ["one", "two", "three"])
    await hand.end(run[1])

    async with connect(address(served, run[0], "?after=2"), additional_headers=bearer(token)) as socket:
        messages = [message async for message in heard(socket)]

    assert [line["text"] for line in messages[0]["lines"]] == ["three"]  # type: ignore[attr-defined]
    assert list(messages[1]) == ["end"]


async def test_a_watcher_that_leaves_is_forgotten(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    before = len(asyncio.all_tasks())
    async with connect(address(served, run[0]), additional_headers=bearer(token)) as socket:
        await hand.say(run[1], ["one"])
        await anext(heard(socket))

    await settled(before)


async def test_a_watcher_that_dawdles_slows_nobody(
    served: str, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    line = "x" * 60_000
    async with connect(address(served, run[0]), additional_headers=bearer(token), max_queue=1) as dawdling:
        async with asyncio.timeout(30):
            for _ in range(30):
                await hand.say(run[1], [line] * 20)
            await hand.end(run[1])
        async with connect(address(served, run[0]), additional_headers=bearer(token)) as quick:
            seen = [message async for message in heard(quick)]

        late = [message async for message in heard(dawdling)]

    for messages in (seen, late):
        lines = [line for message in messages for line in message.get("lines", ())]  # type: ignore[attr-defined]
        assert len(lines) == 600
        assert "end" in messages[-1]


async def closing_code(url: str, headers: dict[str, str]) -> int | None:
    async with connect(url, additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    return socket.close_code


async def test_a_socket_says_why_it_closes(
    served: str, house: House, api: httpx.AsyncClient, token: str, run: tuple[str, Lease]
) -> None:
    other = await house.token(Role.ADMIN, await house.access.ensure_project("other"))
    viewer = await house.token(Role.VIEWER, None)
    session, _ = await house.access.login(viewer)
    cookie = {"Cookie": f"longshore_session={session}"}

    assert await closing_code(address(served, run[0]), {}) == 4401
    assert await closing_code(address(served, run[0]), bearer("lsh_wrong")) == 4401
    assert await closing_code(address(served, run[0]), bearer(other)) == 4404
    assert await closing_code(address(served, "nothing"), bearer(token)) == 4404
    assert await closing_code(address(served, run[0]), cookie) == 4403
    assert await closing_code(address(served, run[0]), cookie | {"Origin": "http://evil.test"}) == 4403
    assert await closing_code(address(served, run[0]), {"Origin": served}) == 4401


async def test_a_browser_watches_with_its_session(
    served: str, house: House, token: str, hand: Hand, run: tuple[str, Lease]
) -> None:
    session, _ = await house.access.login(token)
    await hand.end(run[1])

    headers = {"Cookie": f"longshore_session={session}", "Origin": served}
    async with connect(address(served, run[0]), additional_headers=headers) as socket:
        messages = [message async for message in heard(socket)]

    assert [list(message) for message in messages] == [["end"]]
    assert BASE not in served
