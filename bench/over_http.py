# SPDX-License-Identifier: Apache-2.0
"""What the HTTP API costs, on a server in a process of its own, with authentication, run record and logs on.

    python bench/over_http.py [--runs 300]

Every figure is a median of rounds that were interleaved with the floor: a bare answer of the same server
(GET /api/v1/health), asked by the same client.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx

LONGSHORE = str(Path(sys.executable).with_name("longshore"))
READY = "Longshore is ready: "
HANDLER = """
import sys

def handler(event, context):
    for _ in range(event.get("lines", 0)):
        sys.stdout.write("x" * 99 + "\\n")
    return event
"""


def milliseconds(act: Callable[[], object]) -> float:
    """How long it took."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def show(what: str, values: list[float], unit: str = "ms") -> None:
    """One row: median, and how noisy it was."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    print(
        f"{what:58} {statistics.median(values):9.2f} {unit:7} (p5 {low:.2f}, p95 {high:.2f}, n {len(values)})"
    )


class Bench:
    """A server, a token, a task."""

    def __init__(self, data: Path) -> None:
        command = [LONGSHORE, "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        line = next(line for line in self.server.stdout if line.startswith(READY))
        self.url = line.removeprefix(READY).strip()
        made = [LONGSHORE, "token", "create", "bench", "--role", "admin", "--data", str(data), "--json"]
        token = json.loads(subprocess.run(made, check=True, stdout=subprocess.PIPE).stdout)["token"]
        headers = {"Authorization": f"Bearer {token}"}
        self.api = httpx.Client(base_url=f"{self.url}/api/v1/projects/default", headers=headers, timeout=120)
        package = data / "echo.zip"
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("app.py", HANDLER)
        self.api.put("/buckets/tasks/objects/echo.zip", content=package.read_bytes()).raise_for_status()
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        draft = {"name": "echo", "runtime": version, "handler": "app.handler", "package": "echo.zip"}
        self.api.post("/tasks", json=draft).raise_for_status()
        for name in ("nowhere", "elsewhere"):
            self.api.post("/tasks", json={**draft, "name": name, "location": name}).raise_for_status()

    def health(self) -> None:
        """The floor."""
        self.api.get(f"{self.url}/api/v1/health")

    def there_and_back(self) -> None:
        """A run from request to result."""
        answer = self.api.post("/tasks/echo/runs", params={"wait": 60}, json={"event": {"a": 1}})
        assert answer.json()["state"] == "succeeded", answer.text

    def queue(self) -> None:
        """A run that waits at a location where nobody is."""
        self.api.post("/tasks/nowhere/runs", json={"event": {"a": 1}}).raise_for_status()

    def page(self) -> None:
        """Fifty runs."""
        assert len(self.api.get("/runs", params={"limit": 50}).json()["items"]) == 50

    def watched_log(self, lines: int) -> float:
        """Lines a second from the handler to a watcher."""
        began = time.perf_counter()
        run = self.api.post("/tasks/echo/runs", json={"event": {"lines": lines}}).json()["id"]
        got = 0
        with self.api.stream("GET", f"/runs/{run}/log", params={"follow": "true"}, timeout=None) as log:
            for _ in log.iter_lines():
                got += 1
        assert got >= lines
        return lines / (time.perf_counter() - began)

    def upload(self, megabytes: int) -> float:
        """MB a second into a bucket."""
        piece = bytes(1 << 20)

        def pieces() -> "list[bytes]":
            return [piece] * megabytes

        began = time.perf_counter()
        self.api.put("/buckets/bench/objects/big.bin", content=iter(pieces())).raise_for_status()
        return megabytes / (time.perf_counter() - began)

    def memory_mb(self) -> float:
        """The server's resident memory."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def many_callers(bench: Bench, callers: int, each: int) -> float:
    """Queued runs a second with several clients at once."""

    def caller() -> None:
        with httpx.Client(base_url=bench.api.base_url, headers=bench.api.headers, timeout=60) as api:
            for _ in range(each):
                api.post("/tasks/elsewhere/runs", json={"event": {}}).raise_for_status()

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return callers * each / (time.perf_counter() - began)


def main() -> None:
    """Interleaved rounds, medians."""
    words = argparse.ArgumentParser()
    words.add_argument("--runs", type=int, default=100)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        bench = Bench(Path(name) / "data")
        try:
            idle = bench.memory_mb()
            bench.there_and_back()
            rounds: dict[str, list[float]] = {"floor": [], "run": [], "queue": []}
            for _ in range(given.runs):
                rounds["floor"].append(milliseconds(bench.health))
                rounds["run"].append(milliseconds(bench.there_and_back))
                rounds["queue"].append(milliseconds(bench.queue))
            show("floor: GET /health", rounds["floor"])
            show("a run, POST to result", rounds["run"])
            show("queueing a run, POST to 202", rounds["queue"])
            show("queueing with 8 clients", [many_callers(bench, 8, 100) for _ in range(3)], "runs/s")
            show("a page of 50 runs", [milliseconds(bench.page) for _ in range(50)])
            show(
                "log lines of 100 bytes to a watcher",
                [bench.watched_log(100_000) for _ in range(3)],
                "lines/s",
            )
            show("upload", [bench.upload(100) for _ in range(3)], "MB/s")
            print(f"{'server memory, idle / after all this':58} {idle:9.0f} / {bench.memory_mb():.0f} MB")
        finally:
            bench.server.terminate()
            bench.server.wait()


if __name__ == "__main__":
    main()
