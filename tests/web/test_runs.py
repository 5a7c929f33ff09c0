# SPDX-License-Identifier: Apache-2.0
"""Tasks and runs through the API, with an interceptor by hand at the other end."""

import asyncio
import json

import httpx
import pytest
from tests.web.conftest import P
from tests.web.house import BASE, Hand, House, a_zip

from longshore.domain.order import Lease
from longshore.domain.parameters import MAX_EVENT_DEPTH
from longshore.domain.project import Project, Role
from longshore.domain.run import RunError, RunState, Step, Usage

pytestmark = pytest.mark.anyio


async def started(api: httpx.AsyncClient, hand: Hand, body: object = None) -> tuple[str, Lease]:
    """A run of echo that is under way."""
    run = (await api.post("/tasks/echo/runs", json=body or {})).json()["id"]
    return run, await hand.take()


async def test_a_task_is_created_changed_and_rolled_back(api: httpx.AsyncClient, task: str) -> None:
    changed = await api.patch("/tasks/echo", json={"limits": {"memory_mb": 256}, "description": " d "})
    put = await api.put(
        "/buckets/tasks/objects/echo.zip", content=a_zip({"app.py": b"def handler(e, c): 1\n"})
    )
    back = await api.post("/tasks/echo/rollback")
    whole = await api.post("/tasks/echo/rollback", json={"to": 1})
    history = (await api.get("/tasks/echo/revisions", params={"limit": 2})).json()
    older = (await api.get("/tasks/echo/revisions", params={"after": history["next"]})).json()

    assert changed.json()["task"]["limits"] == {
        "cpus": 1.0,
        "memory_mb": 256,
        "disk_mb": 512,
        "timeout_s": 300.0,
        "pids": 512,
    }
    assert changed.json()["task"]["description"] == "d"
    assert put.json()["updated_tasks"] == ["echo"]
    assert (
        back.json()["task"]["package"] == changed.json()["task"]["package"] != put.json()["package"]["digest"]
    )
    assert whole.json()["task"]["limits"]["memory_mb"] == 1024
    assert [one["revision"] for one in history["items"] + older["items"]] == [5, 4, 3, 2, 1]
    assert older["next"] is None


async def test_saving_says_what_is_wrong_with_the_package(api: httpx.AsyncClient, task: str) -> None:
    draft = {"name": "other", "runtime": "Python 3.11", "handler": "app.nothing", "package": "echo.zip"}
    draft["parameters"] = [{"name": "a", "default": " secret.NOPE "}]  # type: ignore[assignment]

    saved = (await api.post("/tasks", json=draft)).json()

    assert saved["task"]["runtime"] == "python3.11"
    assert any("nothing" in finding["message"] for finding in saved["findings"])
    assert any("NOPE" in warning for warning in saved["warnings"])


async def test_a_task_without_a_package_or_with_a_taken_name_is_refused(
    api: httpx.AsyncClient, task: str
) -> None:
    draft = {"name": "echo", "runtime": "python3.11", "handler": "app.handler", "package": "none.zip"}

    assert (await api.post("/tasks", json=draft)).status_code == 404
    assert (await api.post("/tasks", json=draft | {"package": "echo.zip"})).status_code == 409
    assert (await api.post("/tasks", json=draft | {"name": "b", "runtime": "cobol"})).status_code in (
        400,
        404,
    )


async def test_a_run_tells_all_that_is_known_of_it(api: httpx.AsyncClient, task: str, hand: Hand) -> None:
    run, lease = await started(api, hand, {"event": {"a": "secret.KEY", "n": 1}, "parameters": {"a": "b"}})

    await hand.end(
        lease,
        '{"ok": true}',
        usage=Usage(init_ms=1.5, wall_ms=2.5, cpu_ms=1.0, peak_memory_mb=30.0),
        steps=(Step(name="handler", ms=2.5),),
        notices=("n",),
    )
    shown = (await api.get(f"/runs/{run}")).json()

    assert shown["event"] == {"a": "b", "n": 1}
    assert shown["result"] == {"ok": True}
    assert (shown["state"], shown["reason"], shown["attempt"], shown["task"]) == (
        "succeeded",
        None,
        1,
        "echo",
    )
    assert shown["trigger"] == {"kind": "api", "by": "admin"}
    assert shown["interceptor"] == "by-hand"
    assert [step["name"] for step in shown["timeline"]] == ["queued", "handler"]
    assert shown["timeline"][1] == {"name": "handler", "ms": 2.5}
    assert shown["usage"]["peak_memory_mb"] == 30.0
    assert shown["queued_at"].endswith("Z")
    assert shown["queued_at"] <= shown["claimed_at"] <= shown["started_at"] <= shown["ended_at"]


async def test_lists_leave_out_what_is_large(api: httpx.AsyncClient, task: str, hand: Hand) -> None:
    run, lease = await started(api, hand, {"event": "e"})
    await hand.end(
        lease, None, state=RunState.FAILED, reason="r", error=RunError(type="E", message="m", trace=("t",))
    )

    listed = (await api.get("/runs")).json()["items"]
    tasks = (await api.get("/tasks")).json()["items"]
    whole = (await api.get(f"/runs/{run}")).json()

    assert listed == [tasks[0]["last_run"]]
    assert not {"event", "result"} & set(listed[0])
    assert listed[0]["error"] == {"type": "E", "message": "m"}
    assert whole["error"]["trace"] == ["t"]
    assert {"event", "result"} | set(listed[0]) == set(whole)


async def test_runs_are_found_by_task_and_state_in_parts(
    api: httpx.AsyncClient, task: str, hand: Hand
) -> None:
    ids = [(await api.post("/tasks/echo/runs")).json()["id"] for _ in range(5)]
    await hand.end(await hand.take())

    first = (await api.get("/runs", params={"task": "echo", "limit": 3})).json()
    rest = (await api.get("/runs", params={"task": "echo", "limit": 3, "after": first["next"]})).json()
    done = (await api.get("/runs", params={"state": ["succeeded", "failed"]})).json()

    assert {run["id"] for run in first["items"] + rest["items"]} == set(ids)
    assert rest["next"] is None
    assert [run["id"] for run in done["items"]] == [ids[0]]
    assert (await api.get("/runs", params={"task": "nothing"})).status_code == 404


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (None, {}),
        ({}, {}),
        ({"event": None}, None),
        ({"event": 0}, 0),
        ({"parameters": {"x": 1}}, {"x": 1}),
        ({"event": {"x": 0, "y": 2}, "parameters": {"x": 1}}, {"x": 1, "y": 2}),
    ],
)
async def test_an_event_is_what_was_given(
    api: httpx.AsyncClient, task: str, body: object, event: object
) -> None:
    content = None if body is None else json.dumps(body)

    answer = await api.post("/tasks/echo/runs", content=content)

    assert answer.status_code == 202
    assert answer.json()["event"] == event


@pytest.mark.parametrize(("said", "kind"), [("ui", "ui"), ("cli", "cli"), ("schedule", "api"), ("", "api")])
async def test_people_may_say_where_they_clicked(
    api: httpx.AsyncClient, task: str, said: str, kind: str
) -> None:
    answer = await api.post("/tasks/echo/runs", headers={"X-Longshore-Trigger": said})

    assert answer.json()["trigger"]["kind"] == kind


async def test_waiting_brings_the_end_of_a_run(api: httpx.AsyncClient, task: str, hand: Hand) -> None:
    asking = asyncio.create_task(api.post("/tasks/echo/runs", params={"wait": 20}))
    await hand.end(await hand.take(), "[1]")

    answer = await asking

    assert answer.status_code == 200
    assert answer.json()["result"] == [1]
    assert (await api.get(f"/runs/{answer.json()['id']}", params={"wait": 20})).json()["state"] == "succeeded"


async def test_waiting_ends_when_the_time_is_up(api: httpx.AsyncClient, task: str) -> None:
    answer = await api.post("/tasks/echo/runs", params={"wait": 0.05})

    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"


async def test_a_queued_run_is_cancelled_at_once_and_only_once(api: httpx.AsyncClient, task: str) -> None:
    run = (await api.post("/tasks/echo/runs")).json()["id"]

    first = await api.post(f"/runs/{run}/cancel")
    second = await api.post(f"/runs/{run}/cancel")

    assert (first.json()["state"], first.json()["reason"]) == ("cancelled", "cancelled by admin")
    assert second.status_code == 409


async def test_a_run_under_way_is_asked_to_stop(api: httpx.AsyncClient, task: str, hand: Hand) -> None:
    run, _ = await started(api, hand)

    answer = (await api.post(f"/runs/{run}/cancel")).json()

    assert (answer["state"], answer["cancel_requested"]) == ("running", True)


@pytest.mark.parametrize(
    "payload", ["1.10", "NaN", '{"a": 1, "a": 2}', '"\\ud800"', "[" * 400 + "]" * 400, "1e400", "null", '"x"']
)
async def test_a_result_comes_byte_for_byte_and_as_text_when_it_is_odd(
    api: httpx.AsyncClient, task: str, hand: Hand, payload: str
) -> None:
    run, lease = await started(api, hand)
    await hand.end(lease, payload)

    shown = (await api.get(f"/runs/{run}")).json()
    whole = await api.get(f"/runs/{run}/result")

    assert whole.text == payload
    assert whole.headers["Content-Type"] == "application/json"
    plain = payload in ("1.10", "null", '"x"')
    assert shown["result"] == (json.loads(payload) if plain else payload)


async def test_an_event_is_as_deep_as_the_domain_allows(
    api: httpx.AsyncClient, task: str, hand: Hand
) -> None:
    deep = "[" * MAX_EVENT_DEPTH + "]" * MAX_EVENT_DEPTH
    large = json.dumps({"text": "x" * 100_000})

    answers = [await api.post("/tasks/echo/runs", content=f'{{"event": {event}}}') for event in (deep, large)]
    await hand.end(await hand.take(), deep)
    ended = await api.get(f"/runs/{answers[0].json()['id']}")

    assert [answer.json()["event"] for answer in answers] == [json.loads(deep), json.loads(large)]
    assert ended.json()["result"] == json.loads(deep)


async def test_a_large_result_is_at_its_own_address(api: httpx.AsyncClient, task: str, hand: Hand) -> None:
    run, lease = await started(api, hand)
    payload = json.dumps("x" * 300_000)
    await hand.end(lease, payload)

    shown = (await api.get(f"/runs/{run}")).json()

    assert (shown["result"], shown["result_truncated"]) == (None, True)
    assert (await api.get(f"/runs/{run}/result")).text == payload


async def test_a_run_without_a_result_has_none(api: httpx.AsyncClient, task: str) -> None:
    run = (await api.post("/tasks/echo/runs")).json()["id"]

    assert (await api.get(f"/runs/{run}/result")).status_code == 404


@pytest.mark.parametrize(
    ("kind", "value"), [("number", 10**400), ("json", "NaN"), ("json", "[" * 5000), ("number", "1e999")]
)
async def test_values_that_no_type_takes_are_the_callers_mistake(
    api: httpx.AsyncClient, task: str, kind: str, value: object
) -> None:
    await api.patch("/tasks/echo", json={"parameters": [{"name": "p", "type": kind}]})

    answer = await api.post("/tasks/echo/runs", json={"parameters": {"p": value}})

    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == "p"


async def test_another_projects_runs_are_not_there(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient, house: House, task: str
) -> None:
    other = await house.access.ensure_project("other")
    headers = {"Authorization": f"Bearer {await house.token(Role.ADMIN, other)}"}
    run = (await api.post("/tasks/echo/runs")).json()["id"]

    answers = [
        await stranger.get(f"{BASE}{place}/runs/{run}{what}", headers=headers)
        for place in (P, "/api/v1/projects/other")
        for what in ("", "/log", "/result", "/log?follow=true")
    ]

    assert {answer.status_code for answer in answers} == {404}


async def test_secrets_are_kept_shown_to_editors_and_hidden_for_ever(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient, house: House, project: Project
) -> None:
    short = await api.put("/secrets/SHORT", json={"value": " a "})
    await api.put("/secrets/HIDDEN", json={"value": "deep", "hidden": True})

    listed = await api.get("/secrets")

    assert short.json()["warnings"] == ["values shorter than 4 characters cannot be masked in logs"]
    assert [(one["name"], one["hidden"]) for one in listed.json()["items"]] == [
        ("HIDDEN", True),
        ("SHORT", False),
    ]
    assert "deep" not in listed.text
    assert (await api.get("/secrets/SHORT/value")).json() == {"value": " a "}
    assert (await api.get("/secrets/HIDDEN/value")).status_code == 403
    assert (await api.put("/secrets/HIDDEN", json={"value": "seen"})).status_code == 409
    assert (await api.delete("/secrets/HIDDEN")).status_code == 204
    assert (await api.get("/secrets/HIDDEN/value")).status_code == 404


async def test_the_fleet_says_what_it_can_run(api: httpx.AsyncClient, hand: Hand) -> None:
    await hand.dispatch.register(hand.me)

    interceptors = (await api.get(f"{BASE}/api/v1/interceptors")).json()
    runtimes = (await api.get(f"{BASE}/api/v1/runtimes")).json()

    assert [one["name"] for one in interceptors["items"]] == ["by-hand"]
    assert runtimes == {"items": [{"id": "python3.11", "interceptors": ["by-hand"]}], "next": None}
