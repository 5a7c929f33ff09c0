# SPDX-License-Identifier: Apache-2.0
"""Runs that follow one another: what stays from one to the next, and for whom it never does."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.server import Server, a_zip, processes_of

COUNTS = """
import os

count = 0

def handler(event, context):
    global count
    count += 1
    with open("/tmp/runs", "a") as file:
        file.write("x")
    left = os.listdir("/output")
    open("/output/left.txt", "w").close()
    print("run", count, os.environ["LONGSHORE_RUN_ID"])
    return {
        "count": count,
        "tmp": os.path.getsize("/tmp/runs"),
        "output": left,
        "env": os.environ.get("MINE"),
        "id": os.environ["LONGSHORE_RUN_ID"],
    }
"""
LEAVES = """
import os, socket, subprocess, sys, threading, time

def noise():
    door = socket.socket()
    door.bind(("127.0.0.1", 7777))
    door.listen()
    while True:
        print("NOISE", flush=True)
        time.sleep(0.005)

def handler(event, context):
    if threading.active_count() == 1:
        threading.Thread(target=noise, daemon=True).start()
        time.sleep(0.1)
        if event.get("daemon"):
            code = [sys.executable, "-c", "import time; time.sleep(600)", "longshore-left-behind"]
            subprocess.Popen(code, start_new_session=True)
    return os.getpid()
"""
LOOKS = """
import os, socket, time

def handler(event, context):
    time.sleep(0.3)
    with socket.socket() as door:
        found = door.connect_ex(("127.0.0.1", 7777))
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    return {"port": found, "output": os.listdir("/output"), "tmp": os.listdir("/tmp"), "count": processes}
"""


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """A server with room for ten runs at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGSHORE_CPU_CORES", "16")
        one = Server(place / "data").start()
    yield one
    assert one.stop() == 0
    one.api.close()


def results(server: Server, task: str, runs: int = 3) -> list[Any]:
    """What runs return, one after the other."""
    return [server.run(task, {})["result"] for _ in range(runs)]


def counts(server: Server, task: str, runs: int = 3) -> list[int]:
    """What they count in their globals."""
    return [found["count"] for found in results(server, task, runs)]


def test_globals_and_tmp_stay_within_a_task_and_output_does_not(server: Server) -> None:
    server.task("kept", COUNTS)

    runs = [server.run("kept", {}) for _ in range(4)]

    assert [run["result"]["count"] for run in runs] == [1, 2, 3, 4]
    assert [run["result"]["tmp"] for run in runs] == [1, 2, 3, 4]
    assert [run["result"]["output"] for run in runs] == [[], [], [], []]
    assert [run["result"]["id"] for run in runs] == [run["id"] for run in runs]
    assert [run["cold"] for run in runs] == [True, False, False, False]
    assert [run["usage"]["init_ms"] is None for run in runs] == [False, True, True, True]
    for number, run in enumerate(runs, 1):
        log = server.log_of(run["id"])
        assert f"run {number} {run['id']}" in log
        assert log.count("stdout") == 1
        assert ("Init Duration" in log) == (number == 1)


def test_a_handler_error_keeps_globals_a_crash_and_a_timeout_do_not(server: Server) -> None:
    code = """
    import os, time
    count = 0
    def handler(event, context):
        global count
        count += 1
        if event.get("do") == "raise":
            raise ValueError(count)
        if event.get("do") == "exit":
            os._exit(3)
        if event.get("do") == "sleep":
            time.sleep(60)
        return count
    """
    server.task("fails", code, limits={"timeout_s": 1})

    def ended(do: str) -> Any:
        run = server.run("fails", {"do": do})
        return run["result"] if run["state"] == "succeeded" else run["state"]

    told = [ended(do) for do in ("", "raise", "", "exit", "", "sleep", "", "")]

    assert told == [1, "failed", 3, "failed", 1, "timed_out", 1, 2]


def test_too_much_memory_ends_the_environment(server: Server) -> None:
    code = """
    count = 0
    def handler(event, context):
        global count
        count += 1
        return len(b"x" * event["mb"] * 2**20) and count
    """
    server.task("eats", code, limits={"memory_mb": 100, "disk_mb": 8})

    runs = [server.run("eats", {"mb": mb}) for mb in (1, 1, 300, 1)]

    assert [run["state"] for run in runs] == ["succeeded", "succeeded", "out_of_memory", "succeeded"]
    assert [run["result"] for run in runs] == [1, 2, None, 1]


def test_never_means_never(server: Server) -> None:
    server.task("never", COUNTS, reuse="never")

    assert counts(server, "never") == [1, 1, 1]
    assert server.api.get("/tasks/never").json()["reuse"] == "never"


def test_a_new_revision_new_code_and_new_variables_start_afresh(server: Server) -> None:
    server.task("changes", COUNTS, environment={"MINE": "one"})
    assert counts(server, "changes", 2) == [1, 2]

    server.api.patch("/tasks/changes", json={"environment": {"MINE": "two"}}).raise_for_status()
    assert [(one["count"], one["env"]) for one in results(server, "changes", 2)] == [(1, "two"), (2, "two")]

    package = a_zip({"app.py": COUNTS + "\ncount = 100\n"})
    server.api.put("/buckets/tasks/objects/changes.zip", content=package).raise_for_status()
    assert counts(server, "changes", 2) == [101, 102]


def test_another_handler_of_the_same_package_starts_afresh(server: Server) -> None:
    server.task("renamed", COUNTS + "\ndef other(event, context):\n    return handler(event, context)\n")
    assert counts(server, "renamed", 2) == [1, 2]

    server.api.patch("/tasks/renamed", json={"handler": "app.other"}).raise_for_status()

    assert counts(server, "renamed", 2) == [1, 2]


def test_other_limits_start_afresh(server: Server) -> None:
    server.task("grows", COUNTS)
    assert counts(server, "grows", 2) == [1, 2]

    server.api.patch("/tasks/grows", json={"limits": {"memory_mb": 300}}).raise_for_status()

    assert counts(server, "grows", 2) == [1, 2]


def test_a_secret_that_changes_ends_the_environment_that_knew_it(server: Server) -> None:
    server.api.put("/secrets/PASSWORD", json={"value": "first-secret"}).raise_for_status()
    code = """
    import os
    seen = []
    def handler(event, context):
        seen.append(os.environ["MINE"][::-1])
        return seen
    """
    server.task("secretive", code, environment={"MINE": "{{secret.PASSWORD}}"})
    assert results(server, "secretive", 2) == [["terces-tsrif"], ["terces-tsrif"] * 2]

    server.api.put("/secrets/PASSWORD", json={"value": "other-secret"}).raise_for_status()

    assert results(server, "secretive", 2) == [["terces-rehto"], ["terces-rehto"] * 2]


def test_tasks_of_one_package_and_projects_never_share(server: Server) -> None:
    server.task("mine", COUNTS)
    assert counts(server, "mine", 2) == [1, 2]
    server.task("yours", COUNTS)
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=server.api.headers, timeout=60) as root:
        root.post("/projects", json={"slug": "other"}).raise_for_status()
        there, package = "/projects/other", a_zip({"app.py": COUNTS})
        root.put(f"{there}/buckets/tasks/objects/mine.zip", content=package).raise_for_status()
        draft = {"name": "mine", "runtime": "python3.11", "handler": "app.handler", "package": "mine.zip"}
        root.post(f"{there}/tasks", json=draft).raise_for_status()
        run = root.post(f"{there}/tasks/mine/runs", params={"wait": 60}, json={"event": {}}).json()

    assert counts(server, "yours", 1) == [1]
    assert (run["result"]["count"], run["result"]["tmp"]) == (1, 1)
    assert counts(server, "mine", 1) == [3]


def test_what_a_handler_leaves_running_reaches_no_other_task(server: Server) -> None:
    server.task("leaves", LEAVES)
    server.task("looks", LOOKS)
    alone = server.run("looks", {})["result"]

    for event in ({}, {"daemon": True}):
        assert server.run("leaves", event)["state"] == "succeeded"
        run = server.run("looks", {})

        assert run["result"] == alone
        assert "NOISE" not in server.log_of(run["id"])
    assert alone["output"] == alone["tmp"] == []
    assert alone["port"] != 0


def test_a_thread_that_goes_on_stands_still_between_runs_and_speaks_to_its_task_only(server: Server) -> None:
    server.task("speaks", LEAVES)
    first = server.run("speaks", {})
    log = server.log_of(first["id"])
    time.sleep(2)
    second = server.run("speaks", {})

    assert second["cold"] is False
    assert server.log_of(first["id"]) == log
    assert server.log_of(second["id"]).count("NOISE") < 100


def test_a_process_that_is_left_behind_ends_with_its_environment(server: Server) -> None:
    server.task("daemons", LEAVES)

    first, second = (server.run("daemons", {"daemon": True}) for _ in range(2))

    assert (first["cold"], second["cold"]) == (True, True)
    assert wait_for_none("longshore-left-behind")


def test_ten_runs_at_once_have_ten_environments(server: Server) -> None:
    code = """
    import time, uuid
    mine = uuid.uuid4().hex
    def handler(event, context):
        time.sleep(3)
        return mine
    """
    server.task("ten", code, limits={"cpus": 0.5, "memory_mb": 128, "disk_mb": 8})
    runs = [server.begin("ten", {}) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        ended = list(pool.map(server.ended, runs))

    assert [run["state"] for run in ended] == ["succeeded"] * 10
    assert len({run["result"] for run in ended}) == 10


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("hashes", "PYTHONHASHSEED", "0"),
        ("libraries", "LD_BIND_NOW", "1"),
        ("wrapped", "AWS_LAMBDA_EXEC_WRAPPER", "/var/task/wrapper"),
    ],
)
def test_what_changes_the_start_of_an_interpreter_is_there_at_its_start(
    server: Server, name: str, variable: str, value: str
) -> None:
    """Wrappers (AWS_LAMBDA_EXEC_WRAPPER) are not run yet; a task that names one has a start of its own."""
    code = """
    def handler(event, context):
        pairs = open("/proc/self/environ", "rb").read().decode().split("\\0")
        program = open("/proc/self/cmdline").read().split("\\0")[1]
        return {"pairs": [pair for pair in pairs if pair.startswith("VARIABLE=")], "program": program}
    """.replace("VARIABLE", variable)
    server.task(f"{name}-usual", code)
    server.run(f"{name}-usual", {})
    time.sleep(1)
    server.task(name, code, environment={variable: value})

    found = server.run(name, {})["result"]

    assert found["pairs"] == [f"{variable}={value}"]
    assert found["program"].startswith("/run/longshore/python.")


@pytest.mark.parametrize("where", ["libmine.so", "lib/libmine.so.1"])
def test_libraries_of_a_package_are_found_and_have_it_start_cold(server: Server, where: str) -> None:
    code = """
    import ctypes
    def handler(event, context):
        program = open("/proc/self/cmdline").read().split("\\0")[1]
        return [ctypes.CDLL("LIBRARY")._name, program.startswith("/run/longshore/python.")]
    """.replace("LIBRARY", where.removeprefix("lib/"))
    name = where.replace("/", "-").replace(".", "-")
    server.task(f"{name}-usual", code)
    server.run(f"{name}-usual", {})
    time.sleep(1)
    server.task(name, a_zip({"app.py": code, where: a_library().read_bytes()}))

    assert server.run(name, {})["result"] == [where.removeprefix("lib/"), True]


def a_library() -> Path:
    """One that this process has loaded, and that another one may load beside its own."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    return Path(next(path for path in sorted(mapped) if "/ld-" not in path and "/libc" not in path))


def test_a_larger_disk_is_as_large_as_it_says_and_starts_cold(server: Server) -> None:
    code = """
    import os
    def handler(event, context):
        found = os.statvfs("/tmp")
        mounts = open("/proc/self/mountinfo").read()
        return [found.f_blocks * found.f_frsize // 2**20, " /var/task " in mounts]
    """
    server.task("usual", code)
    server.run("usual", {})
    time.sleep(1)
    server.task("larger", code, limits={"disk_mb": 700})

    assert server.run("larger", {})["result"] == [700, True]


def test_a_second_task_finds_a_cell_that_has_booted(server: Server) -> None:
    """Its package was moved there; in others it is mounted."""
    code = "def handler(event, context):\n    return ' /var/task ' in open('/proc/self/mountinfo').read()\n"
    server.task("first-of-two", code)
    server.run("first-of-two", {})
    time.sleep(2)
    server.task("second-of-two", code)

    assert not server.run("second-of-two", {})["result"]


def test_nothing_is_left_of_a_server_that_was_killed_or_stopped(own_server: Server) -> None:
    own_server.task("kept", COUNTS)
    assert counts(own_server, "kept", 2) == [1, 2]
    time.sleep(1)
    sandboxes = own_server.data / "cache" / "sandbox"
    [before] = sandboxes.iterdir()
    groups = [Path(line) for line in (before / "groups").read_text().splitlines()]
    assert processes_of(before.name) != []

    own_server.kill()
    own_server.start()

    assert wait_for_none(before.name)
    assert not before.exists()
    assert [group for group in groups if group.exists()] == []
    assert counts(own_server, "kept", 2) == [1, 2]
    assert own_server.stop() == 0
    assert list(sandboxes.iterdir()) == []
    assert wait_for_none(str(sandboxes))


def test_a_server_without_cells_takes_less_than_150_mb(own_server: Server) -> None:
    assert own_server.process is not None
    lines = Path(f"/proc/{own_server.process.pid}/status").read_text().splitlines()
    taken = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    assert 20 * 1024 < taken < 150 * 1024


def wait_for_none(marker: str, within: float = 10) -> bool:
    """Whether no process names it any more, soon."""
    by = time.monotonic() + within
    while processes_of(marker):
        if time.monotonic() > by:
            return False
        time.sleep(0.05)
    return True
