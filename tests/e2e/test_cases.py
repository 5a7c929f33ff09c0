# SPDX-License-Identifier: Apache-2.0
"""Results, secrets and packages at their edges, on the real sandbox, each as a user would meet it."""

import base64
import json
import shutil
import urllib.parse
from typing import Any

import pytest
from tests.e2e.server import Server, a_zip

SECRET = 'tops3cret/"välue" & more'


def handler(*lines: str) -> str:
    """A one-file package with this body."""
    return "def handler(event, context):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("a-set", "return {1, 2}", "Runtime.MarshalError"),
        ("cyclic", "a = []; a.append(a); return a", "Runtime.MarshalError"),
        ("too-large", "return 'x' * 7_000_000", "Function.ResponseSizeTooLarge"),
        ("raises", "raise ValueError('no such thing')", "ValueError"),
    ],
)
def test_what_cannot_be_a_result_fails_as_on_lambda(server: Server, name: str, body: str, kind: str) -> None:
    server.task(name, handler(body))

    run = server.run(name)

    assert (run["state"], run["error"]["type"]) == ("failed", kind)
    assert run["result"] is None


def test_an_exception_brings_its_trace_with_frames_below_var_task(server: Server) -> None:
    server.task("traced", handler("return 1 / event['zero']"))

    error = server.run("traced", {"zero": 0})["error"]

    assert (error["type"], error["message"]) == ("ZeroDivisionError", "division by zero")
    assert any('File "/var/task/app.py", line 2, in handler' in frame for frame in error["trace"])


def test_nan_is_kept_as_the_text_that_it_is(server: Server) -> None:
    server.task("nan", handler("return {'a': float('nan')}"))

    run = server.run("nan")

    assert run["state"] == "succeeded"
    assert run["result"] == '{"a": NaN}'


@pytest.mark.parametrize("value", [None, 0, "", [], {}, "ünï \U0001f980", [1, {"a": None}], 1e300, True])
def test_every_kind_of_json_comes_back_as_it_went_in(server: Server, value: object) -> None:
    if server.api.get("/tasks/mirror").status_code != 200:
        server.task("mirror", handler("return event"))

    assert server.run("mirror", {"v": value})["result"] == {"v": value}


def test_a_large_result_is_kept_whole(server: Server) -> None:
    server.task("large", handler("return 'y' * 3_000_000"))

    run = server.run("large")

    assert (run["state"], run["result_truncated"]) == ("succeeded", True)
    whole = server.api.get(f"/runs/{run['id']}/result")
    assert whole.json() == "y" * 3_000_000


def test_the_success_rule_decides_the_state_and_nothing_else(server: Server) -> None:
    server.task("strict", handler("return {'statusCode': event['code'], 'body': 'b'}"))
    server.task("lenient", handler("return {'statusCode': event['code']}"), success="any_return")

    assert server.run("strict", {"code": 204})["state"] == "succeeded"
    assert server.run("lenient", {"code": 500})["state"] == "succeeded"
    failed = server.run("strict", {"code": 502})
    assert (failed["state"], failed["reason"]) == ("failed", "the handler returned statusCode 502")
    assert failed["result"] == {"statusCode": 502, "body": "b"}


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGKILL"])
def test_a_handler_that_stops_or_kills_itself_ends(server: Server, how: str) -> None:
    source = f"import os, signal\n{handler(f'os.kill(os.getpid(), signal.{how})', 'return 1')}"
    server.task(f"self-{how.lower()}", source, limits={"timeout_s": 1})

    run = server.run(f"self-{how.lower()}")

    assert run["state"] == ("timed_out" if how == "SIGSTOP" else "failed")


HOSTILE_CLIENT = """
import http.client, os

def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=5)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    except Exception as error:
        return type(error).__name__
    finally:
        connection.close()

def handler(event, context):
    base = "/2018-06-01/runtime/invocation/"
    return {
        "foreign": ask("POST", base + "00000000-0000-0000-0000-000000000000/response", "1"),
        "init": ask("POST", "/2018-06-01/runtime/init/error", "{}"),
        "huge": ask("POST", base + "x/response", b"z" * 50_000_000),
        "unknown": ask("GET", "/2018-06-01/secrets"),
        "garbage": ask("BREW", "/2018-06-01/runtime/invocation/next", "\\0" * 10),
    }
"""


def test_a_handler_that_talks_nonsense_to_the_runtime_api_hurts_nobody(server: Server) -> None:
    server.task("nonsense", HOSTILE_CLIENT)

    run = server.run("nonsense")

    assert run["state"] == "succeeded", run["reason"]
    assert run["result"]["foreign"] == 400
    assert run["result"]["init"] == 403
    assert run["result"]["unknown"] == 404
    assert run["result"]["huge"] != 202


def test_a_secret_never_leaves_in_any_of_its_forms(server: Server) -> None:
    server.api.put("/secrets/mine", json={"value": SECRET, "hidden": True})
    source = f"""
        import base64, json, os, sys, urllib.parse

        def handler(event, context):
            secret = event["key"]
            print(secret, json.dumps(secret), urllib.parse.quote(secret))
            print(base64.b64encode(secret.encode()).decode())
            sys.stdout.write(secret[:5]); sys.stdout.flush()
            sys.stdout.write(secret[5:] + "\\n")
            print(os.environ["task_parameters"], file=sys.stderr)
            same = secret == {SECRET!r}
            if event.get("fail"):
                raise RuntimeError("with " + secret)
            return {{"same": same, "secret": secret}}
        """
    parameters = [{"name": "key", "type": "secret", "default": "{{secret.mine}}"}]
    server.task("masked", source, parameters=parameters)

    fine, failed = server.run("masked", {}), server.run("masked", {"fail": True})

    assert fine["result"] == {"same": True, "secret": "***"}
    assert failed["error"]["message"] == "with ***"
    everything = "".join(
        server.log_of(run["id"]) + json.dumps(run, ensure_ascii=False) for run in (fine, failed)
    )
    forms = (SECRET, json.dumps(SECRET)[1:-1], base64.b64encode(SECRET.encode()).decode()[:-4])
    for form in (*forms, urllib.parse.quote(SECRET)):
        assert form not in everything
    stored = b"".join(path.read_bytes() for path in (server.data / "state").rglob("*") if path.is_file())
    assert SECRET.encode() not in stored


def test_an_unknown_secret_refuses_the_run_before_it_starts(server: Server) -> None:
    made: dict[str, Any] = server.task(
        "needs-secret", handler("return 1"), parameters=[{"name": "key", "default": "secret.nowhere"}]
    )

    run = server.run(made["name"])

    assert (run["state"], run["started_at"]) == ("failed", None)
    assert run["reason"] == "the secret nowhere does not exist in this project"


def test_a_runner_cannot_read_a_secret_by_an_override(server: Server) -> None:
    server.api.put("/secrets/guarded", json={"value": "guarded-value-1234"})
    server.task("revealing", handler("return list(event['text'])"))
    runner = {"Authorization": f"Bearer {server.new_token('runner')}"}

    begun = server.api.post(
        "/tasks/revealing/runs", json={"event": {"text": "{{secret.guarded}}"}}, headers=runner
    )
    run = server.ended(begun.json()["id"])

    assert "".join(run["result"]) == "{{secret.guarded}}"


def test_rolling_back_brings_the_old_package_back(server: Server) -> None:
    server.task("rolling", handler("return 'old'"))
    server.api.put("/buckets/tasks/objects/rolling.zip", content=a_zip({"app.py": handler("return 'new'")}))

    assert server.run("rolling")["result"] == "new"
    assert server.api.post("/tasks/rolling/rollback", json={}).status_code == 200
    assert server.run("rolling")["result"] == "old"


def test_a_package_that_is_gone_from_the_cache_is_fetched_again(server: Server) -> None:
    server.task("cached", handler("return 'fetched'"))
    assert server.run("cached")["result"] == "fetched"
    shutil.rmtree(server.data / "cache" / "code" / server.api.get("/tasks/cached").json()["package"])

    assert server.run("cached")["result"] == "fetched"


def test_a_task_that_is_deleted_leaves_its_runs(server: Server) -> None:
    server.task("short-lived", handler("return 1"))
    run = server.run("short-lived")

    assert server.api.delete("/tasks/short-lived").status_code == 204
    assert server.api.get(f"/runs/{run['id']}").json()["result"] == 1
    assert server.api.post("/tasks/short-lived/runs", json={}).status_code == 404
