# SPDX-License-Identifier: Apache-2.0
"""The whole story with the command alone, against a server of its own in a process of its own."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import LONGSHORE, Server, a_zip

RUNTIME = "python3.11"
CODE = """
import os

def handler(event, context):
    print("the password is", event["password"])
    with open(os.path.join(os.environ["OUTPUT_DIR"], "said.txt"), "w") as file:
        file.write(event["word"])
    return {"version": 1, "word": event["word"], "times": event["times"]}
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def longshore(server: Server, tmp_path: Path) -> Run:
    """The command as a script would call it, in an empty directory; its exit code is checked."""

    def call(
        *words: str, code: int = 0, stdin: str = "", **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        known = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
        environment = {**known, "LONGSHORE_URL": server.url, "LONGSHORE_TOKEN": server.token, **variables}
        done = subprocess.run(
            [LONGSHORE, *words],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


def answer(done: "subprocess.CompletedProcess[str]") -> Any:
    """The one JSON document on stdout."""
    return json.loads(done.stdout)


def packed(place: Path, name: str, source: str) -> Path:
    """A package of one file."""
    file = place / name
    file.write_bytes(a_zip({"app.py": source}))
    return file


def created(longshore: Run, place: Path, name: str, source: str, *options: str) -> Any:
    """A task over a package of one file that has the task's name."""
    file = packed(place, f"{name}.zip", source)
    words = ("--package", str(file), "--handler", "app.handler", "--runtime", RUNTIME, *options)
    return answer(longshore("task", "create", name, *words, "--json"))


def test_a_task_from_its_zip_to_a_rollback(longshore: Run, tmp_path: Path) -> None:
    longshore("secret", "set", "PASSWORD", "--hidden", stdin="correct horse\n")
    made = created(
        longshore, tmp_path, "story", CODE, "--parameter", "word=hello", "--parameter", "times:number=1",
        "--parameter", "password:secret=secret.PASSWORD", "--memory", "256", "--timeout", "60",
    )  # fmt: skip
    assert made["task"]["revision"] == 1
    assert made["findings"] == []

    first = answer(longshore("task", "run", "story", "-p", "word= hi ", "-p", "times=3", "--wait", "--json"))
    assert list(first) == ["id", "state", "reason", "result", "usage", "artifacts"]
    assert first["state"] == "succeeded"
    assert first["result"] == {"version": 1, "word": "hi", "times": 3}

    log = longshore("run", "logs", first["id"]).stdout
    assert "stdout the password is ***" in log
    assert "correct horse" not in log

    [file] = first["artifacts"]
    longshore("artifact", "get", file["bucket"], file["key"], "-o", "got.txt")
    assert (tmp_path / "got.txt").read_text() == "hi"

    changed = packed(tmp_path, "story.zip", CODE.replace('"version": 1', '"version": 2'))
    put = answer(longshore("artifact", "put", "tasks", str(changed), "--json"))
    assert put["updated_tasks"] == ["story"]

    second = longshore("task", "run", "story", "--follow", "--json")
    assert answer(second)["result"] == {"version": 2, "word": "hello", "times": 1}
    assert "the password is ***" in second.stderr

    back = answer(longshore("task", "rollback", "story", "--json"))
    assert back["task"]["revision"] == 3
    third = answer(longshore("task", "run", "story", "--event", '{"word": "x"}', "--wait", "--json"))
    assert third["result"]["version"] == 1

    revisions = answer(longshore("task", "revisions", "story", "--json"))["items"]
    assert [one["revision"] for one in revisions] == [3, 2, 1]
    runs = answer(longshore("run", "list", "--task", "story", "--state", "succeeded", "--json"))["items"]
    assert [one["id"] for one in runs] == [third["id"], answer(second)["id"], first["id"]]


def test_exit_codes_say_how_a_run_ended(longshore: Run, tmp_path: Path) -> None:
    created(longshore, tmp_path, "broken", "def handler(event, context):\n    raise ValueError('no\\x1b[2J')")

    failed = longshore("task", "run", "broken", "--wait", "--json", code=1)
    followed = longshore("task", "run", "broken", "--follow", code=1)
    unknown = longshore("task", "run", "nobody", "--wait", "--json", code=1)

    assert answer(failed)["state"] == "failed"
    assert followed.stdout.splitlines()[-1].startswith("failed: ")
    assert "\x1b" not in followed.stdout
    assert unknown.stdout == ""
    assert "nobody" in unknown.stderr
    longshore("task", "run", "broken", "-p", "x", code=2)


def test_a_task_that_is_not_reachable_is_exit_3(longshore: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        done = longshore("task", "run", "story", "--wait", "--json", code=3, LONGSHORE_URL=url)

    assert done.stdout == ""
    assert url in done.stderr


def test_a_token_made_while_the_server_runs_lets_in_as_far_as_its_role(
    longshore: Run, server: Server, tmp_path: Path
) -> None:
    data = ("--data", str(server.data), "--json")
    made = answer(longshore("token", "create", "watcher", "--role", "viewer", "--project", "default", *data))
    assert (made["name"], made["role"], made["project"]) == ("watcher", "viewer", "default")
    everywhere = answer(longshore("token", "create", "boss", "--role", "admin", "--expires", "1", *data))
    assert everywhere["project"] is None

    longshore("task", "list", LONGSHORE_TOKEN=made["token"])
    refused = longshore("secret", "set", "X", stdin="value", code=1, LONGSHORE_TOKEN=made["token"])
    assert "editor" in refused.stderr

    listed = answer(longshore("token", "list", "--json"))["items"]
    assert made["id"] in [token["id"] for token in listed]
    longshore("token", "revoke", made["id"])
    longshore("task", "list", code=1, LONGSHORE_TOKEN=made["token"])

    assert everywhere["id"] in [one["id"] for one in answer(longshore("token", "list", *data))["items"]]
    longshore("token", "revoke", everywhere["id"], *data)
    gone = longshore("task", "list", code=1, LONGSHORE_TOKEN=everywhere["token"])
    assert "longshore token create" in gone.stderr
    longshore("token", "create", "lost", "--role", "viewer", "--project", "nowhere", *data, code=1)


def test_a_file_comes_back_as_it_went(longshore: Run, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "blob.bin").write_bytes(content)
    key = "dir one/ü %2F#?.bin"

    put = answer(longshore("artifact", "put", "stuff", "blob.bin", "--key", key, "--json"))
    got = answer(longshore("artifact", "get", "stuff", key, "-o", "back.bin", "--json"))
    longshore("artifact", "get", "stuff", key, "-o", "back.bin", code=1)

    assert put["artifact"]["key"] == key
    assert got["digest"] == put["artifact"]["digest"]
    assert (tmp_path / "back.bin").read_bytes() == content
    assert key in longshore("artifact", "list", "stuff").stdout
    assert "stuff" in longshore("artifact", "list").stdout
    longshore("artifact", "delete", "stuff", key)
    longshore("artifact", "get", "stuff", key, "-o", "again.bin", code=1)
    assert not (tmp_path / "again.bin").exists()


def test_a_creation_that_is_refused_leaves_the_bucket_as_it_was(longshore: Run, tmp_path: Path) -> None:
    file = packed(tmp_path, "unfit.zip", CODE)
    words = ("--package", str(file), "--handler", "app.handler", "--runtime", RUNTIME)

    refused = longshore("task", "create", "unfit", *words, "--memory", "1", code=1)
    longshore("task", "create", "unfit", *words[:-1], "cobol", code=1)
    file.write_bytes(b"no zip")
    longshore("task", "create", "unfit", *words, code=1)

    assert "memory_mb" in refused.stderr
    assert "unfit.zip" not in longshore("artifact", "list", "tasks").stdout


def test_an_update_changes_what_is_given_and_a_new_package(longshore: Run, tmp_path: Path) -> None:
    created(longshore, tmp_path, "patched", CODE, "--parameter", "a=1", "--parameter", "b=2", "--env", "K=V")

    longshore(
        "task", "update", "patched", "--memory", "300", "--parameter", "b:number=3",
        "--without-parameter", "a", "--env", "L=W", "--without-env", "K",
    )  # fmt: skip
    packed(tmp_path, "patched.zip", CODE.replace('"version": 1', '"version": 9'))
    before = answer(longshore("task", "show", "patched", "--json"))
    longshore("task", "update", "patched", "--package", "patched.zip")
    after = answer(longshore("task", "show", "patched", "--json"))

    assert before["limits"]["memory_mb"] == 300
    assert [(one["name"], one["type"], one["default"]) for one in before["parameters"]] == [
        ("b", "number", "3")
    ]
    assert before["environment"] == {"L": "W"}
    assert after["package"] != before["package"]
    longshore("task", "update", "patched", code=2)
    longshore("task", "delete", "patched")
    longshore("task", "show", "patched", code=1)


def test_a_run_that_is_cancelled_ends_a_follower(longshore: Run, tmp_path: Path) -> None:
    source = "import time\ndef handler(event, context):\n    print('begun', flush=True)\n    time.sleep(100)"
    created(longshore, tmp_path, "sleeper", source)
    run = longshore("task", "run", "sleeper").stdout.strip()

    longshore("run", "cancel", run)
    followed = longshore("run", "logs", run, "--follow")

    assert followed.stdout.splitlines()[-1].startswith("cancelled")
    assert answer(longshore("run", "show", run, "--json"))["trigger"]["kind"] == "cli"


def test_every_list_prints_one_document_and_plain_columns(longshore: Run) -> None:
    for words in (("task",), ("run",), ("secret",), ("artifact",), ("project",), ("token",)):
        assert set(answer(longshore(*words, "list", "--json"))) == {"items", "next"}
        assert "\x1b" not in longshore(*words, "list").stdout


def test_projects_are_rooms_of_their_own(longshore: Run) -> None:
    longshore("project", "create", "elsewhere")

    assert "elsewhere" in longshore("project", "list").stdout
    assert longshore("task", "list", LONGSHORE_PROJECT="elsewhere").stdout == ""
    longshore("task", "list", LONGSHORE_PROJECT="nowhere", code=1)


def test_a_second_server_over_the_same_directory_is_refused(longshore: Run, server: Server) -> None:
    words = ("--data", str(server.data), "--listen", "127.0.0.1:0")

    assert "another Longshore server" in longshore("serve", *words, code=1).stderr


def test_packages_are_built_and_checked_without_a_server(longshore: Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text(CODE)
    alone = {"LONGSHORE_URL": "http://127.0.0.1:1"}

    built = answer(longshore("package", "build", "source", "-o", "built.zip", "--json", **alone))
    good = ("package", "check", "built.zip", "--handler", "app.handler", "--runtime", RUNTIME, "--json")
    checked = answer(longshore(*good, **alone))
    missing = answer(longshore(*good[:4], "app.other", *good[5:], code=1, **alone))
    (tmp_path / "bad.zip").write_bytes(a_zip({"../app.py": CODE}))
    refused = answer(longshore("package", "check", "bad.zip", "--json", code=1, **alone))

    assert built["size"] == (tmp_path / "built.zip").stat().st_size
    assert checked["ok"]
    assert "error" in [finding["level"] for finding in missing["findings"]]
    assert refused["findings"][0]["entry"] == "../app.py"


def test_the_doctor_speaks_in_words_and_json(longshore: Run, server: Server) -> None:
    told = answer(longshore("doctor", "--data", str(server.data), "--json"))

    assert told["able"] is True
    assert "disk" in [finding["name"] for finding in told["findings"]]
    assert all(finding["words"] for finding in told["findings"])
