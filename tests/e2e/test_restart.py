# SPDX-License-Identifier: Apache-2.0
"""After a timeout or a crash a task's environment has a new runtime: globals are new, /tmp is kept."""

import os
from typing import Any

import pytest
from tests.e2e.server import Server, processes_of

CODE = """
import ctypes, os, subprocess, sys, threading, time

print("loading")
count = 0

def noise():
    while True:
        print("LATE", flush=True)

def handler(event, context):
    global count
    count += 1
    with open("/tmp/runs", "a") as file:
        file.write("x")
    do = event.get("do")
    if do in ("noise", "daemon"):
        threading.Thread(target=noise, daemon=True).start()
        code = "import time\\nwhile True: print('LATE', flush=True); time.sleep(0.001)"
        daemon = [sys.executable, "-c", code, os.environ["MARK"]]
        for _ in range(3):
            subprocess.Popen(daemon, start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, daemon)
            os._exit(0)
        time.sleep(0.3)
    if do in ("sleep", "noise"):
        open("/output/partial.txt", "w").close()
        time.sleep(60)
    if do == "exit":
        os._exit(3)
    if do == "leave":
        sys.exit(0)
    if do == "crash":
        ctypes.string_at(0)
    if do == "raise":
        raise ValueError(count)
    if do == "eat":
        kept = b"x" * (400 * 2**20)
    if do == "burn":
        kept = bytearray(60 * 2**20)
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        os._exit(1)
    return {"count": count, "runs": os.path.getsize("/tmp/runs"), "output": os.listdir("/output"),
            "mine": os.environ.get("MINE"), "id": os.environ["LONGSHORE_RUN_ID"]}
"""
LIMITS = {"timeout_s": 2, "memory_mb": 200, "disk_mb": 8}


def task(server: Server, name: str, **more: Any) -> None:
    """A task over that code."""
    environment = {"MARK": f"longshore-{os.getpid()}-{name}", **more.pop("environment", {})}
    server.task(name, CODE, limits={**LIMITS, **more.pop("limits", {})}, environment=environment, **more)


def told(server: Server, name: str, *do: str) -> list[Any]:
    """What runs end with, one after the other: their counts and that of /tmp, or their state."""
    found: list[Any] = []
    for one in do:
        run = server.run(name, {"do": one})
        result = run["result"]
        found.append((result["count"], result["runs"]) if run["state"] == "succeeded" else run["state"])
    return found


@pytest.mark.parametrize(
    ("do", "state"),
    [("sleep", "timed_out"), ("exit", "failed"), ("leave", "failed"), ("crash", "failed")],
)
def test_globals_are_new_and_tmp_is_kept(server: Server, do: str, state: str) -> None:
    task(server, f"after-{do}")

    found = told(server, f"after-{do}", "", "", do, "", "", do, do, "")

    assert found == [(1, 1), (2, 2), state, (1, 4), (2, 5), state, state, (1, 8)]


def test_the_run_after_a_restart_is_cold_and_says_how_long_its_init_took(server: Server) -> None:
    task(server, "anew")
    server.run("anew", {})
    failed = server.run("anew", {"do": "exit"})

    runs = [server.run("anew", {}) for _ in range(2)]

    assert [run["cold"] for run in (failed, *runs)] == [False, True, False]
    assert [run["usage"]["init_ms"] is not None for run in runs] == [True, False]
    logs = [server.log_of(run["id"]) for run in runs]
    assert [log.count("loading") for log in logs] == [1, 0]
    assert ["Init Duration" in log for log in logs] == [True, False]
    assert [run["result"]["id"] for run in runs] == [run["id"] for run in runs]
    assert [run["result"]["output"] for run in runs] == [[], []]


def test_a_handler_error_is_no_reason_for_a_restart(server: Server) -> None:
    task(server, "raises")

    assert told(server, "raises", "", "raise", "") == [(1, 1), "failed", (3, 3)]


def test_an_init_that_failed_runs_again_in_the_same_environment(server: Server) -> None:
    code = """
    import os, time
    runs = len(os.listdir("/tmp"))
    open(f"/tmp/{runs}", "w").close()
    print("loading", runs)
    if runs == 0:
        raise ValueError("not yet")
    if runs == 1:
        os._exit(1)
    def handler(event, context):
        return runs
    """
    server.task("late", code)

    runs = [server.run("late", {}) for _ in range(4)]

    assert [run["state"] for run in runs] == ["failed", "failed", "succeeded", "succeeded"]
    assert [run["result"] for run in runs[2:]] == [2, 2]
    assert [run["cold"] for run in runs] == [True, True, True, False]
    assert [server.log_of(run["id"]).count("loading") for run in runs] == [1, 1, 1, 0]


def test_whoever_a_run_left_running_is_gone_and_in_no_later_log(server: Server) -> None:
    for do, state in (("noise", "timed_out"), ("daemon", "succeeded")):
        name = f"leaves-{do}"
        task(server, name)
        server.run(name, {})

        run = server.run(name, {"do": do})
        left = processes_of(f"longshore-{os.getpid()}-{name}")
        later = [server.run(name, {}) for _ in range(2)]

        assert run["state"] == state
        assert "stdout LATE" in server.log_of(run["id"])
        assert left == []
        assert [(one["result"]["count"], one["result"]["runs"]) for one in later] == [(1, 3), (2, 4)]
        for one in later:
            assert "stdout LATE" not in server.log_of(one["id"])


def test_files_of_a_run_that_timed_out_are_kept_and_its_environment_goes_on(server: Server) -> None:
    task(server, "leaves-files")

    run = server.run("leaves-files", {"do": "sleep"})

    assert [file["name"] for file in run["artifacts"]] == ["partial.txt"]
    assert server.run("leaves-files", {})["result"]["output"] == []


def test_usage_after_a_restart_is_the_run_s_own(server: Server) -> None:
    task(server, "burns")

    burnt, after = server.run("burns", {"do": "burn"}), server.run("burns", {})

    assert burnt["usage"]["peak_memory_mb"] > 60
    assert burnt["usage"]["cpu_ms"] >= 290
    assert 1 < after["usage"]["peak_memory_mb"] < 50
    assert after["usage"]["cpu_ms"] < 250


def test_too_much_memory_is_no_reason_for_a_restart(server: Server) -> None:
    task(server, "eats")

    assert told(server, "eats", "", "eat", "") == [(1, 1), "out_of_memory", (1, 1)]


def test_a_cancelled_run_ends_its_environment(server: Server) -> None:
    task(server, "stops", limits={"timeout_s": 30})
    server.run("stops", {})
    run = server.begin("stops", {"do": "sleep"})
    server.until(run, "running")

    server.api.post(f"/runs/{run}/cancel").raise_for_status()

    assert server.ended(run)["state"] == "cancelled"
    assert told(server, "stops", "") == [(1, 1)]


def test_a_launcher_that_was_stopped_ends_the_environment(server: Server) -> None:
    code = """
    import os, signal, time
    def handler(event, context):
        runs = len(os.listdir("/tmp"))
        open(f"/tmp/{runs}", "w").close()
        if event.get("do"):
            os.kill(os.getppid(), signal.SIGSTOP)
            time.sleep(60)
        return runs
    """
    server.task("resists", code, limits={"timeout_s": 1})

    runs = [server.run("resists", event) for event in ({}, {"do": "stop"}, {})]

    assert [run["state"] for run in runs] == ["succeeded", "timed_out", "succeeded"]
    assert [run["result"] for run in runs] == [0, None, 0]


def test_never_means_never_after_a_crash_too(server: Server) -> None:
    task(server, "once", reuse="never")

    assert told(server, "once", "exit", "") == ["failed", (1, 1)]


def test_what_changed_while_the_runtime_restarts_starts_afresh(server: Server) -> None:
    task(server, "moves-on", environment={"MINE": "one"})
    assert told(server, "moves-on", "", "exit") == [(1, 1), "failed"]

    environment = {"MARK": "none", "MINE": "two"}
    server.api.patch("/tasks/moves-on", json={"environment": environment}).raise_for_status()

    result = server.run("moves-on", {})["result"]
    assert (result["count"], result["runs"], result["mine"]) == (1, 1, "two")


def test_an_interpreter_with_variables_of_its_own_has_them_after_a_restart(server: Server) -> None:
    code = """
    import os, sys
    def handler(event, context):
        open(f"/tmp/{len(os.listdir('/tmp'))}", "w").close()
        if event.get("do"):
            os._exit(1)
        pairs = open("/proc/self/environ", "rb").read().decode().split("\\0")
        return ["PYTHONHASHSEED=7" in pairs, len(os.listdir("/tmp")), hash("word")]
    """
    server.task("seeded", code, environment={"PYTHONHASHSEED": "7"})

    first, _, second = (server.run("seeded", event)["result"] for event in ({}, {"do": "exit"}, {}))

    assert first[:2] == [True, 1]
    assert second == [True, 3, first[2]]
