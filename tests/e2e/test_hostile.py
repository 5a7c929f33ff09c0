# SPDX-License-Identifier: Apache-2.0
"""What a hostile or broken handler can do: nothing beyond its own run. In the real sandbox, by the API."""

import time

import pytest
from tests.e2e.server import Server, processes_of

WELL = """
def handler(event, context):
    return {"statusCode": 200, "echo": event}
"""
DAEMONS = """
import os, signal, subprocess, sys, time

MARKER = "longshore-daemon-" + "of-this-test"

def handler(event, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, "-c", "import signal,time;"
                     "signal.signal(signal.SIGTERM, signal.SIG_IGN);time.sleep(600)", MARKER])
    print("forked", flush=True)
    time.sleep(600 if event.get("hang") else 0.2)
    return "done"
"""
PRYING = """
import os, socket

def attempt(name, what, found):
    try:
        found[name] = repr(what())[:200]
    except BaseException as error:
        found[name] = "refused: " + type(error).__name__

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)
        return "connected"

def handler(event, context):
    found = {}
    attempt("shadow", lambda: open("/etc/shadow").read(), found)
    attempt("data", lambda: os.listdir(event["data"]), found)
    attempt("key", lambda: open(event["data"] + "/state/master.key", "rb").read(), found)
    attempt("server", lambda: connect(socket.AF_INET, ("127.0.0.1", event["port"])), found)
    attempt("init", lambda: open("/proc/1/environ").read() or 1 / 0, found)
    attempt("write_code", lambda: open("/var/task/evil.py", "w"), found)
    attempt("write_usr", lambda: open("/usr/evil", "w"), found)
    attempt("core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"), found)
    found["secrets"] = [name for name, value in os.environ.items() if "lsh_" in value or "MASTER" in name]
    found["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
    return found
"""


@pytest.fixture(scope="module")
def well(server: Server) -> str:
    server.task("well", WELL)
    return "well"


def test_daemons_and_ignored_signals_end_with_their_run(server: Server, well: str) -> None:
    server.task("daemons", DAEMONS, limits={"timeout_s": 20})

    ended = server.run("daemons", {})

    assert ended["state"] == "succeeded", ended["reason"]
    assert processes_of("longshore-daemon-of-this-test") == []
    assert server.run(well, 1)["state"] == "succeeded"


def test_a_handler_that_ignores_term_is_timed_out_and_gone_within_half_a_second(
    server: Server, well: str
) -> None:
    server.task("stubborn", DAEMONS, limits={"timeout_s": 1.5})

    ended = server.run("stubborn", {"hang": True})

    assert ended["state"] == "timed_out"
    assert ended["error"]["type"] == "Sandbox.Timedout"
    assert "Task timed out after 1.50 seconds" in ended["error"]["message"]
    assert ended["usage"]["wall_ms"] >= 1500
    assert processes_of("longshore-daemon-of-this-test") == []
    assert "Status: timeout" in server.log_of(ended["id"])
    assert server.run(well, 1)["state"] == "succeeded"


def test_prying_finds_nothing_of_the_host(server: Server) -> None:
    server.task("prying", PRYING)
    port = int(server.url.rpartition(":")[2])

    found = server.run("prying", {"data": str(server.data), "port": port})["result"]

    refused = ("shadow", "data", "key", "server", "init", "write_code", "write_usr", "core_pattern")
    assert {name: found[name] for name in refused if not found[name].startswith("refused")} == {}
    assert found["secrets"] == []
    assert found["processes"] < 8


@pytest.mark.parametrize("megabytes", [150, pytest.param(1000, marks=pytest.mark.full)])
def test_endless_output_is_cut_and_says_so(server: Server, well: str, megabytes: int) -> None:
    server.task(
        f"loud-{megabytes}",
        """
        import sys
        def handler(event, context):
            block = ("x" * 99 + "\\n") * 10_000
            for _ in range(event["megabytes"]):
                sys.stdout.write(block)
            return "said it all"
        """,
        limits={"timeout_s": 120},
    )

    ended = server.ended(server.begin(f"loud-{megabytes}", {"megabytes": megabytes}), within=150)

    assert ended["state"] == "succeeded", ended["reason"]
    assert ended["result"] == "said it all"
    log = server.log_of(ended["id"])
    assert 50_000_000 < len(log) < 200_000_000
    assert "WARNING" in log[-5000:]
    assert "REPORT RequestId" in log[-5000:]
    assert server.run(well, 1)["state"] == "succeeded"


def test_memory_past_the_limit_is_called_out_of_memory(server: Server, well: str) -> None:
    server.task(
        "hungry",
        """
        def handler(event, context):
            held = []
            while True:
                held.append(bytearray(8_000_000))
        """,
        limits={"memory_mb": 128, "timeout_s": 60},
    )

    ended = server.run("hungry", {})

    assert ended["state"] == "out_of_memory"
    assert "128 MB" in ended["reason"]
    assert server.run(well, 1)["state"] == "succeeded"


def test_a_fork_bomb_stays_in_its_cell(server: Server, well: str) -> None:
    server.task(
        "bomb",
        """
        import os, time
        def handler(event, context):
            made = 0
            try:
                while made < 5000:
                    if os.fork() == 0:
                        time.sleep(600)
                    made += 1
            except OSError as error:
                return {"made": made, "error": error.strerror}
            return {"made": made}
        """,
        limits={"pids": 64, "timeout_s": 60},
    )

    ended = server.run("bomb", {})

    assert ended["state"] == "succeeded", ended["reason"]
    assert ended["result"]["made"] <= 64
    assert server.run(well, 1)["state"] == "succeeded"


def test_a_full_disk_is_the_runs_own_problem(server: Server, well: str) -> None:
    server.task(
        "full",
        """
        import os
        def handler(event, context):
            found = {}
            for place in ("/tmp/big", os.environ["OUTPUT_DIR"] + "/big", "/dev/shm/big"):
                try:
                    with open(place, "wb") as file:
                        for _ in range(200):
                            file.write(bytes(1_000_000))
                    found[place] = "fits"
                except OSError as error:
                    found[place] = error.strerror
                os.unlink(place)
            return found
        """,
        limits={"disk_mb": 20, "memory_mb": 256},
    )

    ended = server.run("full", {})

    assert ended["state"] == "succeeded", ended["reason"]
    assert set(ended["result"].values()) == {"No space left on device"}


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("exit3", "import os; os._exit(3)", "exit status 3"),
        ("exit0", "import sys; sys.exit(0)", "exit status 0"),
        ("segfault", "import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("abort", "import os; os.abort()", "aborted"),
        ("sigkill", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    ],
)
def test_a_process_that_ends_without_a_result_says_how(
    server: Server, well: str, name: str, body: str, said: str
) -> None:
    server.task(name, f"def handler(event, context):\n    {body}\n")

    ended = server.run(name, {})

    assert ended["state"] == "failed"
    assert ended["error"]["type"] == "Runtime.ExitError"
    assert said in ended["reason"]
    assert server.run(well, 1)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("handler", "source", "kind"),
    [
        ("nothere.handler", WELL, "Runtime.ImportModuleError"),
        ("app.nothere", WELL, "Runtime.HandlerNotFound"),
        ("app.handler", "def handler(:\n", "Runtime.UserCodeSyntaxError"),
        ("app.handler", "import not_a_module\n", "Runtime.ImportModuleError"),
        ("app.handler", "raise ValueError('at import')\n", "ValueError"),
    ],
)
def test_code_that_does_not_load_fails_as_on_lambda(
    server: Server, handler: str, source: str, kind: str
) -> None:
    name = f"bad-{abs(hash((handler, source)))}"
    server.task(name, source, handler=handler)

    ended = server.run(name, {})

    assert ended["state"] == "failed"
    assert ended["error"]["type"] == kind


def test_a_cancelled_run_stops_within_seconds(server: Server, well: str) -> None:
    server.task("slow", "import time\ndef handler(event, context):\n    time.sleep(600)\n")
    run = server.begin("slow", {})
    server.until(run, "running")

    began = time.monotonic()
    assert server.api.post(f"/runs/{run}/cancel").status_code == 200
    ended = server.ended(run)

    assert ended["state"] == "cancelled"
    assert time.monotonic() - began < 10
    assert server.api.post(f"/runs/{run}/cancel").status_code == 409
