# SPDX-License-Identifier: Apache-2.0
"""What the command says and how it exits, whatever answers."""

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.cli.answering import Answer, Request, problem
from tests.cli.conftest import Cli, Served

LONGSHORE = str(Path(sys.executable).with_name("longshore"))
RUN: dict[str, Any] = {
    "id": "r1",
    "task": "echo",
    "state": "running",
    "reason": None,
    "result": None,
    "usage": {"init_ms": None, "wall_ms": None, "cpu_ms": None, "peak_memory_mb": None},
    "artifacts": [],
}
OVER = {**RUN, "state": "succeeded", "result": {"a": 1}}
ARTIFACT = {"key": "f", "digest": "", "size": 1, "updated_at": "2026-11-24T10:00:00Z", "updated_by": "me"}


def nothing(_: Request) -> Answer:
    return Answer(document={"items": [], "next": None})


def test_nobody_at_the_address_is_exit_3_with_where_and_what_to_do(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("LONGSHORE_URL", url)

        done = cli("task", "list", "--json")

    assert done.code == 3
    assert done.out == ""
    assert url in done.err
    assert "LONGSHORE_URL" in done.err
    assert "longshore serve" in done.err


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, body=b"<html>", kind="text/html"),
        Answer(200, body=b"<html>", kind="text/html"),
        Answer(200, [1]),
        Answer(404, body=b"no", kind="text/plain"),
        Answer(302, headers={"Location": "https://elsewhere/"}),
        Answer(breaks_off=True),
    ],
)
def test_somebody_else_at_the_address_is_exit_3(cli: Cli, served: Served, answer: Answer) -> None:
    with served(lambda _: answer) as server:
        done = cli("task", "list")

    assert done.code == 3
    assert server.url in done.err


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://x", "http://", "http://x:port", "nonsense"])
def test_an_address_that_is_none_is_exit_2(cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LONGSHORE_URL", url)

    done = cli("task", "list")

    assert done.code == 2
    assert "LONGSHORE_URL" in done.err


def test_a_password_in_the_address_is_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGSHORE_URL", "http://me:geheim@127.0.0.1:1")

    done = cli("task", "list")

    assert done.code == 3
    assert "geheim" not in done.err


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 503, 507])
def test_a_refusal_is_exit_1_with_the_servers_own_sentence(cli: Cli, served: Served, status: int) -> None:
    with served(lambda _: problem(status, "this is \x1b[31mwhy")):
        done = cli("task", "show", "x", "--json")

    assert (done.code, done.out, done.err) == (1, "", "this is why\n")


def test_without_a_token_it_says_how_to_get_one(
    cli: Cli, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(lambda _: problem(401, "nobody known")) as server:
        monkeypatch.delenv("LONGSHORE_TOKEN")
        done = cli("run", "list")

    assert done.code == 1
    assert "longshore token create" in done.err
    assert "Authorization" not in server.requests[0].headers


def test_a_token_that_no_header_can_carry_is_not_repeated(
    cli: Cli, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(nothing) as server:
        monkeypatch.setenv("LONGSHORE_TOKEN", "lsh_se\ncret")
        done = cli("run", "list")

    assert done.code == 2
    assert "cret" not in done.err
    assert server.requests == []


def test_caller_and_project_come_from_the_environment(
    cli: Cli, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSHORE_PROJECT", "demo")
    with served(nothing) as server:
        cli("task", "list")

    assert server.asked() == ["GET /api/v1/projects/demo/tasks"]
    assert server.requests[0].headers["Authorization"] == "Bearer lsh_test"


def test_names_never_lead_to_another_address(cli: Cli, served: Served) -> None:
    with served(lambda _: Answer(204)) as server:
        cli("artifact", "delete", "b", "a b/../?c#%2e/ü")
        cli("task", "delete", "..")
        empty = cli("task", "delete", "")

    assert server.asked() == [
        "DELETE /api/v1/projects/default/buckets/b/objects/a%20b/%2E%2E/%3Fc%23%252e/%C3%BC",
        "DELETE /api/v1/projects/default/tasks/%2E%2E",
    ]
    assert empty.code == 2


@pytest.mark.parametrize(("limit", "asked"), [(3, [3, 1]), (10, [10, 8, 6]), (700, [500, 500, 500])])
def test_a_list_follows_next_until_it_has_enough(
    cli: Cli, served: Served, limit: int, asked: list[int]
) -> None:
    def part(request: Request) -> Answer:
        first = int(request.query.get("after", 0))
        names = [str(n + 1) for n in range(first, min(first + 2, 5))]
        items = [{"slug": n, "id": n, "created_at": "2026-11-24T10:00:00Z"} for n in names]
        return Answer(document={"items": items, "next": names[-1] if first + 2 < 5 else None})

    with served(part) as server:
        done = cli("project", "list", "--limit", str(limit), "--json")

    assert len(done.json()["items"]) >= min(limit, 5)
    assert [int(one.query["limit"]) for one in server.requests] == asked


def a_running_server(states: list[dict[str, Any]], logs: list[Answer] | None = None) -> Any:
    def answer(request: Request) -> Answer:
        if request.path.endswith("/log"):
            return (logs or []).pop(0)
        if request.method == "POST":
            return Answer(202, RUN)
        if request.path.endswith("/result"):
            return Answer(body=b'{"large": true}')
        return Answer(document=states.pop(0) if len(states) > 1 else states[0])

    return answer


@pytest.mark.parametrize(
    ("state", "code"), [("succeeded", 0), ("failed", 1), ("timed_out", 1), ("cancelled", 1), ("lost", 1)]
)
def test_waiting_ends_with_a_verdict_and_its_exit_code(
    cli: Cli, served: Served, state: str, code: int
) -> None:
    with served(a_running_server([RUN, {**OVER, "state": state}])) as server:
        done = cli("task", "run", "echo", "-p", "a=1", "--event", '{"b": 2}', "--wait", "--json")

    assert done.code == code
    assert list(done.json()) == ["id", "state", "reason", "result", "usage", "artifacts"]
    assert server.requests[0].json() == {"event": {"b": 2}, "parameters": {"a": "1"}}
    assert server.requests[0].headers["X-Longshore-Trigger"] == "cli"


def test_without_waiting_the_runs_id_is_all(cli: Cli, served: Served) -> None:
    with served(a_running_server([RUN])) as server:
        done = cli("task", "run", "echo")

    assert (done.code, done.out) == (0, "r1\n")
    assert server.requests[0].json() == {}


def test_a_result_that_was_too_large_to_come_along_is_fetched(cli: Cli, served: Served) -> None:
    with served(a_running_server([{**OVER, "result": None, "result_truncated": True}])):
        done = cli("task", "run", "echo", "--wait", "--json")

    assert done.json()["result"] == {"large": True}


def lines(*numbers: int, breaks_off: bool = False) -> Answer:
    told = [
        {"attempt": 1, "seq": n, "at": "10:00Z", "stream": "stdout", "level": None, "text": f"line {n}\u2028"}
        for n in numbers
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in told)
    return Answer(body=text.encode(), kind="application/x-ndjson", breaks_off=breaks_off)


def test_a_log_that_breaks_off_is_taken_up_where_it_was(cli: Cli, served: Served) -> None:
    logs = [lines(1, 2, breaks_off=True), lines(3)]
    with served(a_running_server([RUN, OVER], logs)) as server:
        done = cli("task", "run", "echo", "--follow")

    assert done.code == 0
    assert done.out.splitlines()[:3] == [f"10:00.000Z stdout line {n}\\u2028" for n in (1, 2, 3)]
    assert done.out.splitlines()[-1] == "succeeded"
    asked = [one.query["after"] for one in server.requests if one.path.endswith("/log")]
    assert asked == ["0", "2"]


def test_with_json_the_log_goes_to_stderr(cli: Cli, served: Served) -> None:
    with served(a_running_server([OVER], [lines(1)])):
        done = cli("task", "run", "echo", "--follow", "--json")

    assert done.json()["state"] == "succeeded"
    assert "line 1" in done.err


def test_a_log_as_json_is_one_document(cli: Cli, served: Served) -> None:
    with served(a_running_server([OVER], [lines(1, 2)])):
        done = cli("run", "logs", "r1", "--json")

    assert [line["seq"] for line in done.json()["items"]] == [1, 2]


def test_a_server_that_goes_away_while_we_wait_is_exit_3_and_names_the_run(cli: Cli, served: Served) -> None:
    def answer(request: Request) -> Answer:
        return Answer(202, RUN) if request.method == "POST" else Answer(breaks_off=True)

    with served(answer) as server:
        done = cli("task", "run", "echo", "--wait", "--json")

    assert (done.code, done.out) == (3, "")
    assert "r1 goes on" in done.err
    assert len(server.requests) > 2


def test_an_answer_that_is_lost_says_to_look_before_trying_again(cli: Cli, served: Served) -> None:
    with served(lambda _: Answer(202, RUN, breaks_off=True)):
        done = cli("task", "run", "echo")

    assert done.code == 3
    assert "longshore run list --task echo" in done.err


def test_ctrl_c_while_following_leaves_the_run_alone_and_says_how_to_go_on(served: Served) -> None:
    following, over = threading.Event(), threading.Event()

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(202, RUN)
        following.set()
        over.wait(60)
        return Answer(breaks_off=True)

    with served(answer) as server:
        words = [LONGSHORE, "task", "run", "echo", "--follow"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        following.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        over.set()

    assert (process.returncode, out) == (130, "")
    assert "longshore run logs r1 --follow" in err
    assert "longshore run cancel r1" in err
    assert "Traceback" not in err
    assert not any(request.path.endswith("/cancel") for request in server.requests)


def test_a_reader_that_has_enough_ends_the_verb_quietly(served: Served) -> None:
    many = [{"slug": "x" * 100, "id": "i", "created_at": "2026-11-24T10:00:00Z"}] * 5000
    with served(lambda _: Answer(document={"items": many, "next": None})):
        words = [LONGSHORE, "project", "list", "--limit", "5000"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read()
        process.wait(60)

    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def a_bucket(objects: dict[str, bytes], *, tasks: list[str], create: Answer) -> Any:
    """Bucket `tasks` with these objects, tasks that all use pkg.zip, and what creating one answers."""
    import hashlib

    def answer(request: Request) -> Answer:
        name = request.path.rpartition("/")[2]
        if request.path.endswith("/objects"):
            key = request.query["prefix"]
            found = (
                [{"key": key, "digest": hashlib.sha256(objects[key]).hexdigest()}] if key in objects else []
            )
            return Answer(document={"items": found, "next": None})
        if "/objects/" in request.path:
            if request.method == "PUT":
                objects[name] = request.body
                return Answer(201, {"artifact": ARTIFACT})
            if request.method == "DELETE":
                del objects[name]
                return Answer(204)
            return Answer(
                body=objects[name], headers={"ETag": f'"{hashlib.sha256(objects[name]).hexdigest()}"'}
            )
        if request.method == "POST":
            return create
        if request.path.endswith("/tasks"):
            used = [{"name": task, "package_name": "pkg.zip"} for task in tasks]
            return Answer(document={"items": used, "next": None})
        return Answer(document={}) if name in tasks else problem(404, "no such task")

    return answer


SAVED = Answer(
    201,
    {
        "task": {"name": "new", "revision": 1, "package_name": "pkg.zip", "package": "ab"},
        "warnings": ["mind this"],
        "findings": [{"level": "warning", "code": "case", "message": "and that", "entry": None}],
    },
)


def create(cli: Cli, tmp_path: Path, *more: str) -> Any:
    file = tmp_path / "pkg.zip"
    file.write_bytes(b"new")
    return cli(
        "task", "create", "new", "--package", str(file), "--handler", "a.b", "--runtime", "python3.11", *more
    )


def test_creating_uploads_then_creates_and_shows_what_to_mind(
    cli: Cli, served: Served, tmp_path: Path
) -> None:
    objects: dict[str, bytes] = {}
    with served(a_bucket(objects, tasks=[], create=SAVED)) as server:
        done = create(
            cli, tmp_path, "--memory", "256", "--timeout", "5", "--env", "K=V", "--parameter", "n:number=1",
            "--success", "any_return",
        )  # fmt: skip

    assert done.code == 0
    assert objects == {"pkg.zip": b"new"}
    assert "mind this" in done.err
    assert "and that" in done.err
    assert server.requests[-1].json() == {
        "name": "new",
        "runtime": "python3.11",
        "handler": "a.b",
        "limits": {"memory_mb": 256, "timeout_s": 5.0},
        "parameters": [{"name": "n", "type": "number", "default": "1"}],
        "environment": {"K": "V"},
        "success": "any_return",
        "package": "pkg.zip",
    }


@pytest.mark.parametrize("before", [{}, {"pkg.zip": b"old"}, {"pkg.zip": b"new"}])
def test_a_creation_that_fails_changes_nothing(
    cli: Cli, served: Served, tmp_path: Path, before: dict[str, bytes]
) -> None:
    objects = dict(before)
    with served(a_bucket(objects, tasks=[], create=problem(400, "memory_mb is 1"))):
        done = create(cli, tmp_path, "--memory", "1", "--json")

    assert (done.code, done.out, done.err) == (1, "", "memory_mb is 1\n")
    assert objects == before


def test_another_tasks_package_is_not_replaced_by_the_way(cli: Cli, served: Served, tmp_path: Path) -> None:
    objects = {"pkg.zip": b"old"}
    with served(a_bucket(objects, tasks=["other"], create=SAVED)):
        done = create(cli, tmp_path)

    assert done.code == 1
    assert "other" in done.err
    assert objects == {"pkg.zip": b"old"}


def test_a_task_that_is_there_is_not_created_again(cli: Cli, served: Served, tmp_path: Path) -> None:
    with served(a_bucket({}, tasks=["new"], create=SAVED)) as server:
        done = create(cli, tmp_path)

    assert done.code == 1
    assert "task update new" in done.err
    assert all(request.method == "GET" for request in server.requests)


def test_a_secret_goes_in_the_body_and_comes_from_stdin(cli: Cli, served: Served) -> None:
    told = Answer(document={"secret": {"name": "K", "hidden": True}, "warnings": ["short"]})
    with served(lambda _: told) as server:
        done = cli("secret", "set", "K", "--hidden", stdin="gehéim\n".encode())
        empty = cli("secret", "set", "K")
        torn = cli("secret", "set", "K", stdin=b"\xff")

    assert done.code == 0
    assert "short" in done.err
    assert [one.json() for one in server.requests] == [{"value": "gehéim", "hidden": True}]
    assert (empty.code, torn.code) == (2, 2)


def test_getting_writes_a_whole_file_or_none_and_overwrites_only_when_told(
    cli: Cli, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = [
        Answer(body=b"bytes"),
        Answer(body=b"newer"),
        Answer(body=b"damaged", headers={"ETag": '"00"'}),
        Answer(body=b"torn", breaks_off=True),
        Answer(body=b"piped"),
    ]
    with served(lambda _: answers.pop(0)):
        codes = [
            cli("artifact", "get", "b", "dir/f").code,
            cli("artifact", "get", "b", "dir/f").code,
            cli("artifact", "get", "b", "dir/f", "--force").code,
            cli("artifact", "get", "b", "f", "-o", "g").code,
            cli("artifact", "get", "b", "f", "-o", "g").code,
        ]
        piped = cli("artifact", "get", "b", "f", "-o", "-")

    assert codes == [0, 1, 0, 3, 3]
    assert piped.out == "piped"
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("f", b"newer")]


def test_a_device_is_never_replaced_by_a_file(cli: Cli, served: Served) -> None:
    with served(lambda _: Answer(body=b"bytes")) as server:
        done = cli("artifact", "get", "b", "f", "-o", "/dev/null", "--force")

    assert done.code == 1
    assert Path("/dev/null").is_char_device()
    assert len(server.requests) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("task", "run"),
        ("task", "run", "x", "--nonsense"),
        ("task", "run", "x", "-p", "novalue"),
        ("task", "run", "x", "--event", "{"),
        ("task", "create", "x", "--package", "/nowhere.zip", "--handler", "h", "--runtime", "r"),
        ("task", "list", "--limit", "0"),
        ("run", "list", "--state", "sleeping"),
        ("token", "create", "x", "--role", "emperor"),
        ("token", "list", "--project", "p"),
        ("artifact", "get", "b", "f", "-o", "-", "--json"),
        ("serve", "--sandbox", "paper"),
        ("nonsense",),
        ("task",),
        (),
    ],
)
def test_what_cannot_be_understood_is_exit_2_and_sends_nothing(
    cli: Cli, served: Served, arguments: tuple[str, ...]
) -> None:
    with served(nothing) as server:
        done = cli(*arguments)

    assert done.code == 2
    assert server.requests == []


def test_a_setting_that_cannot_be_is_exit_2_and_its_value_is_not_shown(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSHORE_CPU_CORES", "a-few")

    done = cli("serve")

    assert done.code == 2
    assert "LONGSHORE_CPU_CORES" in done.err
    assert "a-few" not in done.err
