# SPDX-License-Identifier: Apache-2.0
"""The short way in says what the route says, to the letter."""

import asyncio
import json

import httpx
import pytest
from starlette.types import ASGIApp
from tests.web.conftest import P
from tests.web.house import BASE, Hand, House

from longshore.domain.project import Project, Role
from longshore.http.app import create_app

pytestmark = pytest.mark.anyio
RUNS = f"{P}/tasks/echo/runs"
OWN = frozenset({"id", "queued_at", "claimed_at", "started_at", "ended_at", "timeline"})


def asking(app: ASGIApp, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE, headers=headers)


def alike(answer: httpx.Response) -> tuple[int, object, dict[str, str]]:
    """What two answers have in common: all but what differs from run to run."""
    body = answer.json()
    if "id" in body:
        body = {name: value for name, value in body.items() if name not in OWN}
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return answer.status_code, body, headers


async def both(app: ASGIApp, house: House, token: str, url: str, **request: object) -> None:
    """Send a request on both ways and compare."""
    async with asking(app, token) as short, asking(create_app(house), token) as long:
        first = await short.post(url, **request)  # type: ignore[arg-type]
        second = await long.post(url, **request)  # type: ignore[arg-type]
    assert alike(first) == alike(second), (first.text, second.text)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"event": null}',
        b'{"event": [1, "two", {"three": null}]}',
        b'{"parameters": {"a": 1}}',
        '{"event": {"a": 1, "b": "zażółć 🚢"}, "parameters": {"a": 2}}'.encode(),
        b'{"event": 1, "parameters": {"a": 1}}',
        b'{"event": {"a": NaN}}',
        b'{"event": {"a": 1, "a": 2}}',
        b'{"event": "\\ud800"}',
        b'{"evnet": 1}',
        b'{"parameters": 1}',
        b"[1]",
        b"7",
        b'{"event": ',
        b"\xff\xfe",
        b'{"event": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"event": "' + b"x" * 70_000 + b'"}',
    ],
)
async def test_every_body_is_answered_alike(
    app: ASGIApp, house: House, token: str, task: str, content: bytes
) -> None:
    await both(app, house, token, RUNS, content=content)


@pytest.mark.parametrize(
    "query",
    ["", "?wait=0", "?wait=0.0", "?wait=301", "?wait=-1", "?wait=x", "?wait=", "?wiat=0", "?wait=0&a=1"],
)
async def test_every_query_is_answered_alike(
    app: ASGIApp, house: House, token: str, task: str, query: str
) -> None:
    await both(app, house, token, RUNS + query, json={})


@pytest.mark.parametrize(
    "path",
    [
        f"{P}/tasks/none/runs",
        f"{P}/tasks/ec%68o/runs",
        f"{P}/tasks/a%2Fb/runs",
        "/api/v1/projects/other/tasks/echo/runs",
        "/api/v1/projects/OTHER/tasks/echo/runs",
        f"{P}/tasks/echo/runs/",
        f"{P}/tasks//runs",
    ],
)
async def test_every_path_is_answered_alike(
    app: ASGIApp, house: House, token: str, task: str, path: str
) -> None:
    await both(app, house, token, path, json={})


async def test_every_caller_is_answered_alike(
    app: ASGIApp, house: House, project: Project, task: str
) -> None:
    other = await house.access.ensure_project("other")
    tokens = [await house.token(role, project) for role in Role]
    tokens += [
        await house.token(Role.ADMIN, other),
        "lsh_nobody",
        "with space",
        "!",
        "x" * 300,
    ]
    for token in tokens:
        await both(app, house, token, RUNS, json={})


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Longshore-Trigger": "ui"},
        {"X-Longshore-Trigger": "webhook"},
        {"Content-Type": "text/plain"},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer"},
        {"Origin": "http://evil.test"},
    ],
)
async def test_every_header_is_answered_alike(
    app: ASGIApp, house: House, token: str, task: str, headers: dict[str, str]
) -> None:
    await both(app, house, token, RUNS, json={}, headers=headers)


async def test_who_waits_is_given_the_result_and_the_log_is_there(
    app: ASGIApp, house: House, token: str, task: str, hand: Hand
) -> None:
    async with asking(app, token) as api:
        taking = asyncio.create_task(hand.take())
        asked = asyncio.create_task(api.post(f"{RUNS}?wait=30", json={"event": {"a": [1]}}))
        lease = await taking
        await hand.say(lease, ["hello", "there"])
        await hand.end(lease, '{"b": 2}')
        answer = await asked
        run = answer.json()
        again = (await api.get(f"{P}/runs/{run['id']}")).json()
        log = (await api.get(f"{P}/runs/{run['id']}/log?format=json")).text

    assert answer.status_code == 200
    assert (run["state"], run["result"], run["event"]) == ("succeeded", {"b": 2}, {"a": [1]})
    assert run == again
    assert [json.loads(line)["text"] for line in log.splitlines()] == ["hello", "there"]
