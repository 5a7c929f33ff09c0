# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent: the answer is a problem that says what is wrong, and never a failure of ours."""

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.web.conftest import P
from tests.web.house import BASE

from longshore.http.app import create_app
from longshore.http.strict_json import MAX_DEPTH, strict_json

pytestmark = pytest.mark.anyio
RUNS = "/tasks/echo/runs"


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, once it has been looked at."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    return told


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/v1/nowhere", "/api/v1/projects/default/tasks/", "//", "/static/"]
)
async def test_an_unknown_address_is_a_problem(stranger: httpx.AsyncClient, path: str) -> None:
    is_problem(await stranger.get(f"{BASE}{path}"), 404)


async def test_an_unknown_method_is_told_which_ones_there_are(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.put(f"{P}/tasks")
    odd = await stranger.request("BREW", f"{P}/tasks/x")

    is_problem(answer, 405)
    assert answer.headers["Allow"] == "GET, POST"
    assert odd.headers["Allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"event": NaN}', "NaN is not a JSON value"),
        (b'{"event": -Infinity}', "-Infinity is not a JSON value"),
        (b'{"event": 1e999}', "too large"),
        (b'{"event": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"event": {"a": 1, "a": 2}}', "'a' is there twice"),
        (b'{"event": ' + b"[" * 201 + b"]" * 201 + b"}", "nested too deeply"),
        (b'{"event": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"event": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "nested too deeply"),
        (b'{"event": "\\ud800"}', "surrogate"),
        (b'\xef\xbb\xbf{"event": 1}', "not valid JSON"),
    ],
)
async def test_json_that_is_none_is_refused_with_what_is_wrong(
    api: httpx.AsyncClient, task: str, body: bytes, words: str
) -> None:
    told = is_problem(await api.post(RUNS, content=body), 400)

    assert told["field"] == "body"
    assert words in told["detail"]


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        raise AssertionError("nobody may read this")
        yield b""

    headers = {"Content-Length": str(9 * 1024 * 1024)}

    is_problem(await api.post(RUNS, content=endless(), headers=headers), 413)


async def test_a_body_that_grows_too_large_is_refused_on_the_way(api: httpx.AsyncClient) -> None:
    sent = 0

    async def growing() -> Any:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1024 * 1024

    is_problem(await api.post(RUNS, content=growing()), 413)
    assert sent <= 10


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/tasks", {"name": "x"}, "runtime"),
        ("POST", "/tasks", [], "body"),
        ("POST", "/tasks", None, "body"),
        ("PATCH", "/tasks/echo", {"limits": {"memory_mb": -1}}, "limits.memory_mb"),
        ("PATCH", "/tasks/echo", {"limits": {"memory_mb": 10**400}}, "limits.memory_mb"),
        ("PATCH", "/tasks/echo", {"limits": {"memory_mb": 1}}, "memory_mb"),
        ("PATCH", "/tasks/echo", {"limits": {"cpus": 1e300}}, "limits.cpus"),
        ("PATCH", "/tasks/echo", {"nam": "y"}, "nam"),
        ("PATCH", "/tasks/echo", {"name": "a b"}, "name"),
        ("PATCH", "/tasks/echo", {"environment": {"A B": "x"}}, "environment"),
        ("PATCH", "/tasks/echo", {"parameters": [{"name": "n", "type": "nothing"}]}, "parameters.0.type"),
        ("PATCH", "/tasks/echo", {"parameters": [{"name": "n", "type": "number", "default": "x"}]}, "n"),
        ("POST", "/tasks/echo/rollback", {"to": 10**30}, "to"),
        ("POST", "/tasks/echo/runs", {"event": 1, "parameters": {"a": 1}}, "parameters"),
        ("POST", "/tokens", {"name": "x", "role": "king"}, "role"),
        ("POST", "/tokens", {"name": "x", "role": "admin", "expires_in_days": 10**9}, "expires_in_days"),
        ("PUT", "/secrets/a-b", {"value": "x"}, "name"),
        ("PUT", "/secrets/ok", {"value": ""}, "value"),
        ("GET", "/tasks?limit=0", None, "limit"),
        ("GET", "/tasks?limit=501", None, "limit"),
        ("GET", "/runs?state=nothing", None, "state.0"),
        ("GET", f"/tasks/echo/revisions?after={10**30}", None, "after"),
        ("GET", "/tasks/echo/revisions?after=x", None, "after"),
        ("GET", "/runs/x?wait=nan", None, "wait"),
        ("GET", "/runs/x?wait=301", None, "wait"),
        ("GET", f"/runs/x/log?after={10**30}", None, "after"),
        ("GET", "/runs/x/log?format=xml", None, "format"),
    ],
)
async def test_what_is_not_valid_names_its_field(
    api: httpx.AsyncClient, task: str, method: str, path: str, body: object, field: str
) -> None:
    content = None if body is None else json.dumps(body)

    told = is_problem(await api.request(method, path, content=content), 400)

    assert told["field"] == field


async def test_a_refused_secret_is_not_repeated(api: httpx.AsyncClient) -> None:
    answer = await api.put("/secrets/key", json={"value": ["hunter2"], "hidden": "hunter2"})

    is_problem(answer, 400)
    assert "hunter2" not in answer.text


async def test_curl_need_not_say_that_its_body_is_json(api: httpx.AsyncClient, task: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await api.post(RUNS, content=b'{"event": [1]}', headers=headers)

    assert answer.status_code == 202
    assert answer.json()["event"] == [1]


async def test_a_failure_of_ours_is_logged_without_what_was_sent() -> None:
    app = create_app(SimpleNamespace(version="0"))
    transport = httpx.ASGITransport(app=app)

    with capture_logs() as log:
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            answer = await client.get("/login", params={"code": "lsh_hunter2"})

    is_problem(answer, 500)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [entry["event"] for entry in log] == ["request failed"]
    assert log[0]["error"] == "AttributeError"
    assert any("follow_login_link" in place for place in log[0]["where"])
    assert "hunter2" not in str(log) + answer.text


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        ["..", "../../etc/passwd", ".", "a/../b", "%2e%2e", "a\x00b", "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"]
    ),
    st.sampled_from(
        ["x" * 2048, "\x7f", "\n", "a//b", "/", "'; DROP TABLE runs", "{}", "ﷺ" * 700, "\U0001f600"]
    ),
)
TEMPLATES = [
    ("GET", "/api/v1/projects/{}"),
    ("GET", f"{P}/tasks/{{}}"),
    ("PATCH", f"{P}/tasks/{{}}"),
    ("DELETE", f"{P}/tasks/{{}}"),
    ("GET", f"{P}/tasks/{{}}/revisions"),
    ("POST", f"{P}/tasks/{{}}/rollback"),
    ("POST", f"{P}/tasks/{{}}/runs"),
    ("GET", f"{P}/runs/{{}}"),
    ("GET", f"{P}/runs/{{}}/log?follow=true"),
    ("GET", f"{P}/runs/{{}}/result"),
    ("POST", f"{P}/runs/{{}}/cancel"),
    ("DELETE", f"{P}/tokens/{{}}"),
    ("GET", f"{P}/buckets/{{}}/objects/x"),
    ("GET", f"{P}/buckets/b/objects/{{}}"),
    ("HEAD", f"{P}/buckets/b/objects/{{}}"),
    ("DELETE", f"{P}/buckets/b/objects/{{}}"),
    ("PUT", f"{P}/buckets/tasks/objects/{{}}"),
    ("POST", f"{P}/packages/check?file_name={{}}"),
    ("GET", f"{P}/secrets/{{}}/value"),
    ("DELETE", f"{P}/secrets/{{}}"),
    ("GET", "/static/{}"),
]


def percent(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode("utf-8", "replace"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE, template=st.sampled_from(TEMPLATES))
async def test_hostile_names_are_the_callers_mistake(
    api: httpx.AsyncClient, name: str, template: tuple[str, str]
) -> None:
    method, path = template

    answer = await api.request(method, BASE + path.format(percent(name)))

    assert 400 <= answer.status_code < 500, answer.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE)
async def test_hostile_keys_are_kept_as_they_are_or_refused(api: httpx.AsyncClient, name: str) -> None:
    path = f"{BASE}{P}/buckets/b/objects/{percent(name)}"

    put = await api.put(path, content=b"x")

    assert put.status_code in (201, 400, 404), put.text
    if put.status_code == 201:
        got = await api.get(path)
        assert got.content == b"x"
        assert put.json()["artifact"]["key"] == name
        assert (await api.delete(path)).status_code == 204


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(["after", "limit", "prefix", "task", "state", "wait", "follow", "format"]),
        st.one_of(HOSTILE, st.integers().map(str), st.floats().map(str)),
    ),
    path=st.sampled_from(
        ["/tasks", "/runs", "/buckets", "/buckets/b/objects", "/tokens", "/secrets", "/runs/x"]
    ),
)
async def test_hostile_queries_never_fail_us(
    api: httpx.AsyncClient, query: dict[str, str], path: str
) -> None:
    answer = await api.get(path, params=query)

    assert answer.status_code < 500, answer.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=JSON)
async def test_any_event_comes_back_as_it_was_sent(api: httpx.AsyncClient, task: str, event: object) -> None:
    answer = await api.post(RUNS, json={"event": event})

    assert answer.status_code == 202, answer.text
    assert answer.json()["event"] == event


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON)
async def test_any_json_for_a_task_is_taken_or_refused(
    api: httpx.AsyncClient, task: str, body: object
) -> None:
    answers = [await api.patch("/tasks/echo", json=body), await api.post("/tasks", json=body)]

    assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]


@given(st.text() | JSON.map(json.dumps))
def test_strict_json_reads_what_python_reads_or_refuses(text: str) -> None:
    try:
        value = strict_json(text)
    except ValueError:
        return
    assert json.loads(text) == value


def test_strict_json_goes_as_deep_as_it_says() -> None:
    deepest = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH

    assert json.dumps(strict_json(deepest)) == deepest
    with pytest.raises(ValueError, match="too deeply"):
        strict_json(f"[{deepest}]")


async def test_a_line_break_at_the_end_of_a_name_is_not_looked_past(api: httpx.AsyncClient) -> None:
    put = await api.put("/buckets/b/objects/name%0A", content=b"x")
    listed = await api.get("/buckets/b/objects")

    assert put.status_code == 400
    assert "line break" in put.json()["detail"]
    assert listed.json()["items"] == []
