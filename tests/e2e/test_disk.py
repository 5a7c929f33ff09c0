# SPDX-License-Identifier: Apache-2.0
"""A database that somebody holds, and a disk that is full: reads go on, writes are refused in words, what
was begun ends, and no run is torn."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import SmallDisk
from tests.e2e.server import FINAL, Server

ECHO = "def handler(event, context):\n    return len(event)\n"
SLOW = "import time\ndef handler(event, context):\n    time.sleep(event['s'])\n    return 'whole'\n"
LARGE = {"text": "x" * 1_000_000}


@contextlib.contextmanager
def held(database: Path) -> Iterator[None]:
    """Somebody else writes and does not end."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_database_that_is_held_refuses_writes_answers_reads_and_loses_no_run(server: Server) -> None:
    server.task("echo", ECHO)
    server.task("slow", SLOW)
    server.api.put("/secrets/one", json={"value": "a-value"})
    before = server.run("echo", {})
    run = server.begin("slow", {"s": 1})
    server.until(run, "running")

    with held(server.data / "state" / "longshore.db"):
        refused = server.api.post("/tasks/echo/runs", json={"event": {}})
        gone = server.api.delete("/secrets/one")
        seen = server.api.get(f"/runs/{before['id']}"), server.api.get("/tasks"), server.api.get("/runs")

    for answer in (refused, gone):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "another process has locked the database" in answer.json()["detail"]
    assert [answer.status_code for answer in seen] == [200] * 3
    ended = server.ended(run)
    assert (ended["state"], ended["result"], ended["attempt"]) == ("succeeded", "whole", 1)
    assert server.run("echo", {})["state"] == "succeeded"
    assert server.api.delete("/secrets/one").status_code == 204
    assert len(server.api.get("/runs").json()["items"]) == 3


@pytest.mark.parametrize("small_disk", [400], indirect=True)
def test_a_full_disk_ends_what_was_begun_refuses_what_is_new_and_recovers(small_disk: SmallDisk) -> None:
    server = Server(small_disk.at / "data").start()
    try:
        server.task("echo", ECHO)
        server.task("slow", SLOW)
        server.api.put("/buckets/data/objects/old.txt", content=b"old").raise_for_status()
        assert server.run("echo", {})["state"] == "succeeded"
        runs = [server.begin("slow", {"s": 4}) for _ in range(2)]
        for run in runs:
            server.until(run, "running")

        small_disk.fill()
        answers = [server.api.post("/tasks/echo/runs", json={"event": LARGE}) for _ in range(8)]
        waited = server.api.post("/tasks/echo/runs?wait=30", json={"event": {}})
        upload = server.api.put("/buckets/data/objects/new.bin", content=bytes(1_000_000))
        reads = [server.api.get(path) for path in ("/runs", "/tasks", f"/runs/{runs[0]}")]
        ended = [server.ended(run) for run in runs]
        deleted = server.api.delete("/buckets/data/objects/old.txt")

        assert {answer.status_code for answer in answers} <= {202, 503}
        assert answers[-1].status_code == 503
        assert "the disk is full" in answers[-1].json()["detail"]
        assert waited.status_code == 503
        assert upload.status_code == 507
        assert [answer.status_code for answer in reads] == [200] * 3
        assert [(run["state"], run["result"]) for run in ended] == [("succeeded", "whole")] * 2
        assert deleted.status_code == 204

        small_disk.clear()
        accepted_again(server)
        assert server.run("echo", LARGE)["result"] == 1
        assert server.api.put("/buckets/data/objects/new.bin", content=bytes(1_000_000)).status_code == 201
        taken = [json.loads(answer.text)["id"] for answer in answers if answer.status_code == 202]
        assert {server.ended(run)["state"] for run in taken} <= {"succeeded"}
    finally:
        server.stop()
        server.api.close()
    whole_and_over(small_disk.at / "data" / "state" / "longshore.db")


@pytest.mark.parametrize("small_disk", [400], indirect=True)
def test_a_server_that_is_killed_on_a_full_disk_has_every_run_afterwards(small_disk: SmallDisk) -> None:
    server = Server(small_disk.at / "data").start()
    try:
        server.task("echo", ECHO)
        server.task("slow", SLOW)
        run = server.begin("slow", {"s": 60})
        server.until(run, "running")
        small_disk.fill()
        answers = [server.api.post("/tasks/echo/runs", json={"event": LARGE}) for _ in range(8)]
        small_disk.fill()  # what the database was given as well

        server.kill()
        small_disk.clear()
        server.start()

        assert server.ended(run)["state"] == "lost"
        taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert {server.ended(one)["state"] for one in taken} <= {"succeeded", "lost"}
        assert server.run("echo", {})["state"] == "succeeded"
    finally:
        server.stop()
        server.api.close()
    whole_and_over(small_disk.at / "data" / "state" / "longshore.db")


def accepted_again(server: Server, within: float = 20) -> None:
    """Wait until the server has seen that there is room."""
    by = time.monotonic() + within
    while server.api.post("/tasks/echo/runs", json={"event": {}}).status_code != 202:
        assert time.monotonic() < by
        time.sleep(0.2)


def whole_and_over(database: Path) -> None:
    with sqlite3.connect(database) as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {row[0] for row in rows.execute("SELECT state FROM runs")} <= FINAL
