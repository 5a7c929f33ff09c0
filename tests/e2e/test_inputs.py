# SPDX-License-Identifier: Apache-2.0
"""What people give a run: secrets that are not there, parameters of every kind, names meant to do harm."""

import os
import random
from typing import Any

import httpx
import pytest
from tests.e2e.server import Server, a_zip

ECHO = "def handler(event, context):\n    return event\n"
LENGTH = "def handler(event, context):\n    return {name: len(str(value)) for name, value in event.items()}\n"
ENVIRONMENT = "import os\ndef handler(event, context):\n    return dict(os.environ)\n"


def wants(name: str) -> list[dict[str, str]]:
    """A parameter that refers to a secret."""
    return [{"name": "key", "type": "secret", "default": f"{{{{secret.{name}}}}}"}]


def test_a_secret_that_was_deleted_refuses_the_next_run_by_its_name(server: Server) -> None:
    server.api.put("/secrets/passing", json={"value": "passing-value-1"})
    server.task("passing", LENGTH, parameters=wants("passing"))
    assert server.run("passing", {})["result"] == {"key": 15}

    server.api.delete("/secrets/passing")
    run = server.run("passing", {})

    assert (run["state"], run["started_at"]) == ("failed", None)
    assert run["reason"] == "the secret passing does not exist in this project"
    assert server.log_of(run["id"]) == ""


def test_a_secret_that_is_deleted_while_a_run_waits_fails_it_before_it_starts(server: Server) -> None:
    server.api.put("/secrets/waiting", json={"value": "waiting-value-1"})
    server.task("waiting", LENGTH, parameters=wants("waiting"))
    with server.occupied():
        run = server.begin("waiting", {})
        server.api.delete("/secrets/waiting").raise_for_status()
        assert server.api.get(f"/runs/{run}").json()["state"] == "queued"

    ended = server.ended(run)

    assert (ended["state"], ended["started_at"]) == ("failed", None)
    assert ended["reason"] == "the secret waiting does not exist in this project"


def test_a_secret_of_another_project_is_none(server: Server) -> None:
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=server.api.headers, timeout=60) as root:
        root.post("/projects", json={"slug": "theirs"}).raise_for_status()
        root.put("/projects/theirs/secrets/shared", json={"value": "of-their-project"}).raise_for_status()
    server.task("borrowing", LENGTH, parameters=wants("shared"))

    run = server.run("borrowing", {})

    assert run["state"] == "failed"
    assert run["reason"] == "the secret shared does not exist in this project"
    assert "of-their-project" not in str(run)


def test_a_secret_too_short_to_mask_is_said_to_be_one(server: Server) -> None:
    kept = server.api.put("/secrets/short", json={"value": "abc"})
    server.task("short-secret", LENGTH, parameters=wants("short"))

    run = server.run("short-secret", {})

    assert "shorter than 4" in kept.json()["warnings"][0]
    assert run["result"] == {"key": 3}
    assert "a secret shorter than 4 characters is not masked in the log" in run["notices"]
    assert "WARNING a secret shorter than 4 characters" in server.log_of(run["id"])


def test_a_secret_in_pieces_of_any_size_never_leaves(server: Server) -> None:
    value = "p1eces-" + "".join(random.Random(5).choices("abcXYZ019+/", k=33))
    server.api.put("/secrets/pieces", json={"value": value})
    source = """
        import base64, os, random, time
        def handler(event, context):
            dice = random.Random(event["seed"])
            secret = event["key"].encode()
            forms = [secret, base64.b64encode(secret), secret.hex().encode(), b"plain"]
            text = b" ".join(forms * 20) + b"\\n"
            while text:
                size = dice.randint(1, 40)
                os.write(1, text[:size])
                text = text[size:]
                if dice.random() < 0.1:
                    time.sleep(0.001)
        """
    server.task("pieces", source, parameters=wants("pieces"))

    logs = [server.log_of(server.run("pieces", {"seed": seed})["id"]) for seed in range(5)]

    for log in logs:
        assert log.count("***") >= 20
        assert log.count("plain") == 20
        assert value[4:16] not in log


def test_parameters_arrive_as_what_they_are(server: Server) -> None:
    parameters = [
        {"name": "users", "type": "number", "unit": "users"},
        {"name": "name", "type": "string"},
        {"name": "loud", "type": "boolean", "default": "no"},
        {"name": "size", "type": "choice", "choices": ["small", "large"], "default": "small"},
        {"name": "more", "type": "json", "default": "[1, 2]"},
    ]
    server.task("typed", ECHO, parameters=parameters)
    large = "x" * 100_000

    given = {"users": " 50 ", "name": "  Zoë \U0001f980 \u202e ", "large": large, "un declared": " a "}
    run = server.run("typed", given)

    assert run["result"] == {
        "users": 50,
        "name": "Zoë \U0001f980 \u202e",
        "loud": False,
        "size": "small",
        "more": [1, 2],
        "large": large,
        "un declared": " a ",
    }
    assert [notice for notice in run["notices"] if "spaces" in notice] == [
        "spaces around the value of users were removed",
        "spaces around the value of name were removed",
    ]
    refused = server.api.post("/tasks/typed/runs", json={"event": {"users": "many"}})
    assert (refused.status_code, refused.json()["field"]) == (400, "users")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parameters": [{"name": "a"}, {"name": "a"}]}, "parameters"),
        ({"parameters": [{"name": "a b"}]}, "parameters"),
        ({"parameters": [{"name": "1a"}]}, "parameters"),
        ({"parameters": [{"name": "é"}]}, "parameters"),
        ({"environment": {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}}, "environment"),
        ({"environment": {"LONGSHORE_RUN_ID": "x"}}, "environment"),
        ({"environment": {"A=B": "x"}}, "environment"),
        ({"environment": {"A": "a\0b"}}, "environment"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_its_field(
    server: Server, fields: dict[str, Any], field: str
) -> None:
    server.api.put("/buckets/tasks/objects/echo.zip", content=a_zip({"app.py": ECHO}))
    draft = {"name": "refused", "runtime": "python3.11", "handler": "app.handler", "package": "echo.zip"}

    answer = server.api.post("/tasks", json={**draft, **fields})

    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field


def test_search_paths_and_libraries_are_the_tasks_own_and_reach_its_handler_alone(server: Server) -> None:
    own = {"PATH": "/var/task/bin:/usr/bin", "LD_PRELOAD": "/var/task/none.so", "TZ": "Asia/Tokyo"}
    server.task("paths", ENVIRONMENT, environment=own)

    run = server.run("paths", {})

    assert run["state"] == "succeeded", run["reason"]
    assert {name: run["result"][name] for name in own} == own
    assert run["result"]["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:9001"
    assert "LD_PRELOAD" not in os.environ


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE runs; --", "<img src=x onerror=alert(1)>", "evil\u202etxt", "\x1b[2J", "a/../b"]
)
def test_names_meant_to_do_harm_are_refused_or_are_only_data(server: Server, name: str) -> None:
    draft = {"name": name, "runtime": "python3.11", "handler": "app.handler", "package": "echo.zip"}
    server.api.put("/buckets/tasks/objects/echo.zip", content=a_zip({"app.py": ECHO}))
    server.task("bystander-" + str(abs(hash(name))), ECHO)

    made = server.api.post("/tasks", json=draft)
    bucket = server.api.put("/buckets/a'b/objects/x", content=b"x")
    event = server.run("bystander-" + str(abs(hash(name))), {name: name})

    assert (made.status_code, made.json()["field"]) == (400, "name")
    assert bucket.status_code in (400, 404)
    assert event["result"] == {name: name}
    assert server.api.get("/runs", params={"task": name}).status_code == 404
    assert server.api.get("/runs").status_code == 200
