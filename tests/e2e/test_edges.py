# SPDX-License-Identifier: Apache-2.0
"""Handlers at the edges of what a handler may be, say and do. Every run here is on the real sandbox."""

import json
import time
from pathlib import Path

import pytest
from tests.e2e.server import Server, a_zip, processes_of

RETURNS = "def handler(event, context):\n    return __name__\n"
WELL = "def handler(event, context):\n    return event\n"


@pytest.mark.parametrize(
    ("name", "handler", "file"),
    [
        ("dotted", "a.b.handler", "a/b.py"),
        ("slashed", "a/b.handler", "a/b.py"),
        ("deep", "a.b.c.d.handler", "a/b/c/d.py"),
        ("package", "a.b.handler", "a/b/__init__.py"),
        ("dashed", "my-file.handler", "my-file.py"),
    ],
)
def test_a_handler_may_be_in_any_module(server: Server, name: str, handler: str, file: str) -> None:
    made = server.task(f"in-{name}", a_zip({file: RETURNS}), handler=handler)
    checked = server.api.get(f"/tasks/in-{name}").json()

    run = server.run(f"in-{name}")

    assert run["state"] == "succeeded", run["reason"]
    assert run["result"] == handler.rpartition(".")[0].replace("/", ".")
    assert made["handler"] == checked["handler"] == handler


@pytest.mark.parametrize(
    ("name", "handler", "source", "code", "kind"),
    [
        ("no-file", "nothere.handler", WELL, "handler_module", "Runtime.ImportModuleError"),
        ("no-dot", "handler", WELL, "handler_shape", "Runtime.MalformedHandlerName"),
        ("no-name", "app.", WELL, "handler_shape", "Runtime.HandlerNotFound"),
        ("no-function", "app.nothere", WELL, "handler_function", "Runtime.HandlerNotFound"),
        ("bad-syntax", "app.handler", "def handler(:\n", "handler_syntax", "Runtime.UserCodeSyntaxError"),
        ("bad-import", "app.handler", f"import not_a_module\n{WELL}", "import", "Runtime.ImportModuleError"),
    ],
)
def test_what_will_not_load_is_said_when_it_is_saved_and_fails_as_on_lambda(
    server: Server, name: str, handler: str, source: str, code: str, kind: str
) -> None:
    server.api.put(f"/buckets/tasks/objects/{name}.zip", content=a_zip({"app.py": source}))
    draft = {"name": name, "runtime": "python3.11", "handler": handler, "package": f"{name}.zip"}
    saved = server.api.post("/tasks", json=draft)

    run = server.run(name)

    assert saved.status_code == 201
    assert code in [finding["code"] for finding in saved.json()["findings"]]
    assert (run["state"], run["error"]["type"]) == ("failed", kind), run["error"]
    assert run["reason"].startswith(kind)
    assert kind in server.log_of(run["id"])


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("exit", "os._exit(3)", "exit status 3"),
        ("segfault", "import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("abort", "os.abort()", "aborted"),
    ],
)
def test_code_that_ends_its_process_while_it_loads_is_an_exit_too(
    server: Server, name: str, body: str, said: str
) -> None:
    server.task(f"load-{name}", f"import os\n{body}\n{WELL}")

    first, second = server.run(f"load-{name}"), server.run(f"load-{name}")

    for run in (first, second):
        assert (run["state"], run["error"]["type"]) == ("failed", "Runtime.ExitError")
        assert said in run["reason"]


def test_output_of_any_kind_becomes_lines_that_can_be_read(server: Server) -> None:
    source = """
        import os, sys
        def handler(event, context):
            os.write(1, b"before\\n")
            for _ in range(160):
                os.write(1, b"x" * 65536)
            os.write(1, b"\\nbad \\xff\\xfe \\xe2\\x82 utf-8\\n")
            os.write(1, bytes(range(256)) * 20 + b"\\n")
            for percent in range(5):
                os.write(2, b"loaded %d\\r" % percent)
            os.write(1, b"windows\\r\\nafter\\n")
            os.write(1, b"no end")
            return "said"
        """
    server.task("any-output", source)

    run = server.run("any-output")

    lines = server.api.get(f"/runs/{run['id']}/log", params={"format": "json"}).text.splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert (run["state"], run["result"]) == ("succeeded", "said")
    [long] = [text for text in texts if text.startswith("xxx")]
    assert long.endswith("…[cut: line longer than 64 KiB]")
    assert len(long.encode()) < 66_000
    assert "bad \ufffd\ufffd \ufffd utf-8" in texts
    assert [text for text in texts if text.startswith("loaded")] == [f"loaded {n}" for n in range(5)]
    assert [text for text in texts if text in ("before", "windows", "after", "no end")] == [
        *("before", "windows", "after", "no end"),
    ]
    assert not any(char < " " and char != "\t" for text in texts for char in text)


def test_commands_for_terminals_do_not_leave_the_log_and_it_is_saved_as_text(server: Server) -> None:
    source = r"""
        def handler(event, context):
            print("\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1Hgone \x1b]0;title\x07", end=" ")
            print("\x1b]8;;http://evil\x1b\\link \x9b31mC1")
            print("<img src=x onerror=alert(1)> \u202etxt.exe '; DROP TABLE runs; --")
        """
    server.task("terminal", source)

    run = server.run("terminal")
    answer = server.api.get(f"/runs/{run['id']}/log", params={"download": "true"})

    [red] = [line for line in answer.text.splitlines() if "red" in line]
    assert red.partition("stdout ")[2] == "\x1b[31mred\x1b[0m gone  link 31mC1"
    assert "<img src=x onerror=alert(1)> \u202etxt.exe '; DROP TABLE runs; --" in answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{run["id"]}.log"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("pause", [0, 0.01, 0.3])
def test_a_log_is_the_same_whether_it_is_followed_or_read_afterwards(server: Server, pause: float) -> None:
    source = """
        import time
        def handler(event, context):
            for number in range(5):
                print("line", number, flush=True)
                time.sleep(event["pause"])
        """
    name = f"followed-{pause}".replace(".", "-")
    server.task(name, source)
    for _ in range(5):
        run = server.begin(name, {"pause": pause})

        with server.api.stream("GET", f"/runs/{run}/log", params={"follow": "true"}) as log:
            followed = list(log.iter_lines())

        assert [line.partition("stdout ")[2] for line in followed if "stdout" in line] == [
            f"line {number}" for number in range(5)
        ]
        assert followed == server.log_of(run).splitlines()


@pytest.mark.parametrize("reuse", ["auto", "never"])
def test_whoever_waits_for_a_run_hears_all_that_is_known_of_it(server: Server, reuse: str) -> None:
    source = """
        def handler(event, context):
            for number in range(3):
                open(f"/output/{number}.txt", "w").close()
            print("said")
            if event["fail"]:
                raise ValueError("with files")
        """
    server.task(f"telling-{reuse}", source, reuse=reuse)
    for fail in (False, True):
        path, body = f"/tasks/telling-{reuse}/runs", {"event": {"fail": fail}}
        at_once = server.api.post(f"{path}?wait=60", json=body).json()
        queued = server.api.post(path, json=body).json()

        for run in (at_once, server.ended(queued["id"])):
            assert run == server.api.get(f"/runs/{run['id']}").json()
            assert [file["name"] for file in run["artifacts"]] == ["0.txt", "1.txt", "2.txt"]
            assert run["state"] == ("failed" if fail else "succeeded")


def test_a_flood_of_output_leaves_the_servers_memory_flat(server: Server) -> None:
    assert server.process is not None
    source = """
        import os
        def handler(event, context):
            block = (b"y" * 99 + b"\\n") * 600
            for _ in range(event["blocks"]):
                os.write(1, block)
        """
    server.task("flood", source, limits={"timeout_s": 120})
    server.run("flood", {"blocks": 300})
    status = Path(f"/proc/{server.process.pid}/status")
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak counts from here on
    before = resident(status)

    run = server.ended(server.begin("flood", {"blocks": 2000}), within=150)

    assert run["state"] == "succeeded", run["reason"]
    assert resident(status, "VmHWM:") - before < 60


def resident(status: Path, name: str = "VmRSS:") -> float:
    """Megabytes."""
    return int(status.read_text().partition(name)[2].split()[0]) / 1024


@pytest.mark.parametrize("how", ["forks for ever", "forks in forks"])
def test_a_fork_bomb_without_end_is_gone_with_its_time_and_others_run_beside_it(
    server: Server, how: str
) -> None:
    source = """
        import os, time
        def handler(event, context):
            print("bombing", flush=True)
            while True:
                try:
                    if os.fork() == 0 and event["how"] == "forks for ever":
                        while True:
                            pass
                except OSError:
                    pass
        """
    name = how.replace(" ", "-")
    server.task(f"{name}-well", WELL, limits={"memory_mb": 128})
    server.run(f"{name}-well", 0)
    server.task(name, source, limits={"timeout_s": 4, "memory_mb": 512, "pids": 128})

    bomb = server.begin(name, {"how": how})
    server.until(bomb, "running")
    beside = [server.run(f"{name}-well", number) for number in range(5)]
    ended = server.ended(bomb)

    assert [run["result"] for run in beside] == list(range(5))
    assert max(run["usage"]["wall_ms"] for run in beside) < 3000
    assert ended["state"] in ("timed_out", "out_of_memory")
    assert server.run(f"{name}-well", 5)["result"] == 5


@pytest.mark.parametrize("seconds", [0.3, 1])
def test_a_timeout_takes_no_longer_than_it_must_however_the_handler_resists(
    server: Server, seconds: float
) -> None:
    source = """
        import os, signal, sys, time
        def handler(event, context):
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                code = "import time; time.sleep(600)"
                os.execv(sys.executable, [sys.executable, "-c", code, event["mark"]])
            os.kill(os.getppid(), signal.SIGSTOP)
            while True:
                time.sleep(600)
        """
    name = f"resists-{seconds}".replace(".", "-")
    server.task(name, source, limits={"timeout_s": seconds})

    run = server.run(name, {"mark": f"longshore-{name}"})

    assert (run["state"], run["error"]["type"]) == ("timed_out", "Sandbox.Timedout")
    assert run["usage"]["wall_ms"] < 1000 * seconds + 5000  # half a second, on a machine with time to spare
    assert processes_of(f"longshore-{name}") == []


def test_what_a_handler_leaks_is_its_own_loss(server: Server) -> None:
    source = """
        import errno, socket
        def handler(event, context):
            opened, found = [], {}
            try:
                while True:
                    opened.append(socket.socket())
            except OSError as error:
                found["error"] = errno.errorcode[error.errno]
            found["many"] = len(opened) > 100
            for one in opened:
                one.close()
            return found
        """
    server.task("leaks", source)

    assert [server.run("leaks")["result"] for _ in range(2)] == [{"error": "EMFILE", "many": True}] * 2


def test_an_answer_that_the_handler_gives_by_itself_counts_once(server: Server) -> None:
    source = """
        import http.client, os, socket

        def handler(event, context):
            base = f"/2018-06-01/runtime/invocation/{context.aws_request_id}"
            host = os.environ["AWS_LAMBDA_RUNTIME_API"]
            said = []
            for body in ('"first"', '"second"'):
                connection = http.client.HTTPConnection(host, timeout=5)
                connection.request("POST", base + "/response", body)
                said.append(connection.getresponse().status)
                connection.close()
            with socket.create_connection(host.split(":"), timeout=5) as raw:
                raw.sendall(b"\\x00\\xff" * 5000 + b"\\r\\n\\r\\n")
                try:
                    said.append(raw.recv(100).split(b" ")[1].decode())
                except OSError as error:
                    said.append(type(error).__name__)
            print(said)
            return "third"
        """
    server.task("answers", source)

    first = server.run("answers")
    time.sleep(0.5)
    again = server.run("answers")

    for run in (first, again):
        assert (run["state"], run["result"]) == ("succeeded", "first"), run["reason"]
