# SPDX-License-Identifier: Apache-2.0
"""Longshore as users meet it: a server in a process of its own, asked over HTTP with a token."""

import contextlib
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from bench.child import Child, finished
from bench.http_client import Connection, Load, Target, load, written
from bench.machine import ALL_CORES, SERVER_CORES, place, rss_mb
from bench.measure import DONE, EIGHT, FLOW, MEMORY, ONE, QUEUE, Effort, Measure, NotThere, Took
from bench.table import Kind, Row

LONGSHORE = str(Path(sys.executable).with_name("longshore"))
PROJECT = "/api/v1/projects/default"
INVOKE = f"{PROJECT}/tasks/echo/runs?wait=60"
INVOKE_BODY = b'{"event":{"a":1}}'
INVOKE_ANSWER = '"result":{"a":1}'
SUBMIT = f"{PROJECT}/tasks/{{task}}/runs"
BULK = f"{PROJECT}/tasks/{{task}}/runs/bulk"
BULK_RUNS = 10_000


def bulk_body(runs: int) -> bytes:
    """What the bulk call takes."""
    return json.dumps({"events": [{"a": 1}] * runs}).encode()


HANDLER = """
import sys

def handler(event, context):
    for _ in range(event.get("lines", 0)):
        sys.stdout.write("x" * 99 + "\\n")
    return event
"""
ONE_KEY, EIGHT_KEY, DONE_KEY, BACK_KEY = "ours.http1", "ours.http8", "ours.done", "ours.back"
QUEUE_KEY, BULK_KEY = "ours.queue8", "ours.bulk"


def _row(key: str, says: str, unit: str, floor: str | None = None) -> Row:
    return Row(key=key, kind=Kind.OURS, says=says, unit=unit, floor=floor)


@dataclass(slots=True)
class Longshore:
    """A server with three tasks: `echo`, and two at locations where nobody takes runs."""

    effort: Effort
    _child: Child | None = None
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _port: int = 0
    _headers: dict[str, str] = field(default_factory=dict)
    _api: httpx.Client = field(default_factory=httpx.Client)
    _idle_mb: float = 0.0

    def start(self) -> None:
        """Start it, with a history of runs."""
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        home = Path(self._directory.name)
        home.chmod(0o755)
        data = str(home / "data")
        command = [LONGSHORE, "serve", "--data", data, "--listen", "127.0.0.1:0"]
        self._child = Child(command, errors=home / "errors")
        url = self._child.line("Longshore is ready: ")
        self._port = int(url.rpartition(":")[2])
        made = [LONGSHORE, "token", "create", "bench", "--role", "admin", "--data", data, "--json"]
        token = json.loads(finished(made)[1])["token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._api = httpx.Client(base_url=url + PROJECT, headers=self._headers, timeout=120)
        self._idle_mb = rss_mb(self._child.process.pid)
        self._fill(home / "echo.zip")

    def _fill(self, package: Path) -> None:
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("app.py", HANDLER)
        self._good(self._api.put("/buckets/tasks/objects/echo.zip", content=package.read_bytes()))
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        draft = {"name": "echo", "runtime": version, "handler": "app.handler", "package": "echo.zip"}
        self._good(self._api.post("/tasks", json=draft))
        for name in ("history", "nowhere"):
            self._good(self._api.post("/tasks", json={**draft, "name": name, "location": name}))
        load(self._to("POST", SUBMIT.format(task="history")), clients=8, count=self.effort.history)
        load(self._to("POST", INVOKE), clients=8, count=80)

    def stop(self) -> None:
        """End it as an operator would."""
        self._api.close()
        if self._child is not None:
            self._child.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """Everything that a user could wait for."""
        history, lines = f"{self.effort.history:,}", f"{self.effort.log_lines:,}"
        all_done = "until all are done"
        eight = f"{self.effort.runs:,} runs, queued by 8 clients, {all_done}"
        bulk = f"{self.effort.runs:,} runs, queued by one POST, {all_done}"
        one = _row(ONE_KEY, "a warm run, from POST to its result", "ms", "asgi.1")
        back = _row(BACK_KEY, "a queued run there and back: POST, then GET its end", "ms", "commit")
        log = _row("ours.log", f"{lines} log lines, handler to watcher", "lines/s", "lines")
        page = _row("ours.page", f"a page of 50 out of {history} runs", "ms", "asgi.1")
        single = _row("ours.queue1", "runs queued by one client", "/s", "commits")
        eight_queue = _row(QUEUE_KEY, "runs queued by 8 clients", "/s", "commits")
        many = _row(BULK_KEY, f"{BULK_RUNS:,} runs queued by one POST", "/s", "grouped")
        return (
            self._pinned(ONE, self._one, one),
            self._free(EIGHT, self._eight, _row(EIGHT_KEY, "warm runs, 8 clients", "/s", "asgi.8")),
            self._pinned(QUEUE, self._queue_one, single),
            self._pinned(QUEUE, self._queue_eight, eight_queue),
            self._pinned(QUEUE, self._bulk, many),
            self._free(DONE, self._done, _row(DONE_KEY, eight, "/s", "grouped")),
            self._free(DONE, self._drained, _row("ours.drained", bulk, "/s", "grouped")),
            self._pinned(DONE, self._back, back),
            self._pinned(FLOW, self._log, log, _row("ours.log_growth", "what the server grew by then", "MB")),
            self._pinned(FLOW, self._upload, _row("ours.upload", "an upload into a bucket", "MB/s", "file")),
            self._pinned(FLOW, self._page, page),
            self._pinned(
                MEMORY,
                self._memory,
                _row("ours.idle", "the server before its first run (RSS)", "MB", "idle"),
                _row("ours.rss", "the server after all of this (RSS)", "MB", "idle"),
            ),
        )

    def _pinned(self, group: str, take: Callable[[], Took], *rows: Row) -> Measure:
        return Measure(group=group, rows=rows, take=self._placed(take, SERVER_CORES))

    def _free(self, group: str, take: Callable[[], Took], *rows: Row) -> Measure:
        return Measure(group=group, rows=rows, take=self._placed(take, ALL_CORES))

    def _placed(self, take: Callable[[], Took], cores: frozenset[int]) -> Callable[[], Took]:
        def placed() -> Took:
            place(self._pid, cores)
            return take()

        return placed

    @property
    def _pid(self) -> int:
        assert self._child is not None
        return self._child.process.pid

    def _to(self, method: str, path: str, expect: str = "", body: bytes = INVOKE_BODY) -> Target:
        headers = {**self._headers, "Content-Type": "application/json"}
        return Target(
            port=self._port, request=written(method, path, body=body, headers=headers), expect=expect
        )

    def _one(self) -> Took:
        target = self._to("POST", INVOKE, INVOKE_ANSWER)
        return {ONE_KEY: load(target, seconds=self.effort.seconds).latencies_ms}

    def _eight(self) -> Took:
        target = self._to("POST", INVOKE, INVOKE_ANSWER)
        return {EIGHT_KEY: [load(target, clients=8, seconds=self.effort.seconds, cores=ALL_CORES).rate]}

    def _queued(self, clients: int) -> Load:
        target = self._to("POST", SUBMIT.format(task="nowhere"), '"state":"queued"')
        return load(target, clients=clients, seconds=self.effort.seconds)

    def _queue_one(self) -> Took:
        return {"ours.queue1": [self._queued(1).rate]}

    def _queue_eight(self) -> Took:
        return {QUEUE_KEY: [self._queued(8).rate]}

    def _bulk(self) -> Took:
        body = bulk_body(BULK_RUNS)
        began = time.perf_counter()
        self._queue_all("nowhere", body)
        return {BULK_KEY: [BULK_RUNS / (time.perf_counter() - began)]}

    def _queue_all(self, task: str, body: bytes) -> None:
        path = BULK.removeprefix(PROJECT).format(task=task)
        answer = self._api.post(path, content=body, headers={"Content-Type": "application/json"})
        if answer.status_code in (404, 405):
            raise NotThere("this server has no bulk call")
        self._good(answer)

    def _done(self) -> Took:
        target = self._to("POST", SUBMIT.format(task="echo"))
        began = datetime.now(UTC)
        load(target, clients=8, count=self.effort.runs, cores=ALL_CORES)
        return {DONE_KEY: [self.effort.runs / self._all_done(began)]}

    def _drained(self) -> Took:
        body = bulk_body(self.effort.runs)
        began = datetime.now(UTC)
        self._queue_all("echo", body)
        return {"ours.drained": [self.effort.runs / self._all_done(began)]}

    def _all_done(self, began: datetime) -> float:
        """Seconds until the last run ended, by its own word: asking all the time would slow it down."""
        waiting = "/runs?task=echo&limit=1&state=queued&state=starting&state=running"
        while self._api.get(waiting).json()["items"]:
            time.sleep(0.05)
        newest = self._api.get("/runs?task=echo&limit=100").json()["items"]
        assert {run["state"] for run in newest} == {"succeeded"}
        ended = max(datetime.fromisoformat(run["ended_at"]) for run in newest)
        return (ended - began).total_seconds()

    def _back(self) -> Took:
        submit = self._to("POST", SUBMIT.format(task="echo")).request.encode()
        took = []
        with contextlib.closing(Connection(self._port)) as connection:
            for _ in range(self.effort.runs // 5):
                began = time.perf_counter()
                run = connection.ask(submit).split(b'"id":"')[1].split(b'"')[0].decode()
                wanted = self._to("GET", f"{PROJECT}/runs/{run}?wait=60", body=b"").request.encode()
                assert b'"state":"succeeded"' in connection.ask(wanted)
                took.append((time.perf_counter() - began) * 1000)
        return {BACK_KEY: took}

    def _log(self) -> Took:
        lines = self.effort.log_lines
        before = rss_mb(self._pid)
        began = time.perf_counter()
        run = self._api.post("/tasks/echo/runs", json={"event": {"lines": lines}}).json()["id"]
        with self._api.stream("GET", f"/runs/{run}/log", params={"follow": "true"}, timeout=None) as log:
            got = sum(piece.count(b"\n") for piece in log.iter_raw())
        took = time.perf_counter() - began
        assert got >= lines, got
        return {"ours.log": [lines / took], "ours.log_growth": [max(0.0, rss_mb(self._pid) - before)]}

    def _upload(self) -> Took:
        piece = bytes(1 << 20)
        began = time.perf_counter()
        pieces = iter([piece] * self.effort.megabytes)
        self._good(self._api.put("/buckets/bench/objects/big.bin", content=pieces))
        return {"ours.upload": [self.effort.megabytes / (time.perf_counter() - began)]}

    def _page(self) -> Took:
        page = self._to("GET", f"{PROJECT}/runs?task=history&limit=50", '"next"', body=b"")
        return {"ours.page": load(page, count=50).latencies_ms}

    def _memory(self) -> Took:
        return {"ours.idle": [self._idle_mb], "ours.rss": [rss_mb(self._pid)]}

    def _good(self, answer: httpx.Response) -> None:
        answer.raise_for_status()
