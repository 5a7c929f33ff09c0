# SPDX-License-Identifier: Apache-2.0
"""Lines a second from a handler to somebody who watches, on a server in a process of its own.

    python -m bench.logs [--lines 100000] [--rounds 5] [--flood]

Each row is a way to watch, without secrets and with twenty that are masked; rows are interleaved. A watcher
only counts line ends, so that it is the server which is measured. Plain lines have no level; logged ones look
like those of a logging library. `--flood` lets a handler print a gigabyte: what it costs in memory.
"""

import argparse
import http.client
import os
import random
import shutil
import statistics
import string
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.serving import Caller, Server, package
from websockets.sync.client import connect

SECRETS = 20
HANDLER = """
import os

def handler(event, context):
    line = event["line"] + "x" * (99 - len(event["line"])) + "\\n"
    block = (line * 100).encode()
    for _ in range(event["lines"] // 100):
        os.write(1, block)
"""
PLAIN, LOGGED = "", "2026-01-31 12:00:00,123 INFO request 4711 took 17 ms "


class Watched:
    """A server with a task that has secrets and one that has none."""

    def __init__(self, place: Path) -> None:
        self.server = Server(place)
        self.server.start()
        self.caller = Caller(self.server.address, self.server.token)
        self._make()

    def _make(self) -> None:
        self.caller.ask("PUT", "/buckets/tasks/objects/logs.zip", raw=package(HANDLER))
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        draft = {"runtime": version, "handler": "app.handler", "package": "logs.zip"}
        chosen = random.Random(7)
        environment = {}
        for number in range(SECRETS):
            value = "".join(chosen.choices(string.ascii_letters + string.digits, k=chosen.randint(12, 40)))
            self.caller.ask("PUT", f"/secrets/s{number}", {"value": value})
            environment[f"S{number}"] = f"{{{{secret.s{number}}}}}"
        self.caller.ask("POST", "/tasks", {"name": "plain", **draft})
        self.caller.ask("POST", "/tasks", {"name": "masked", "environment": environment, **draft})

    def begin(self, task: str, lines: int, line: str) -> str:
        """A run that prints."""
        run = self.caller.ask("POST", f"/tasks/{task}/runs", {"event": {"lines": lines, "line": line}})
        return str(run["id"])

    def streamed(self, run: str, query: str = "") -> int:
        """Follow a log as a stream; how many lines there were."""
        connection = http.client.HTTPConnection(self.server.address, timeout=300)
        path = f"/api/v1/projects/default/runs/{run}/log?follow=true{query}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.server.token}"})
        answer = connection.getresponse()
        count = 0
        while piece := answer.read1(1 << 20):
            count += piece.count(b"\n")
        connection.close()
        return count

    def socketed(self, run: str) -> int:
        """Follow it over a WebSocket."""
        headers = {"Authorization": f"Bearer {self.server.token}"}
        url = f"ws://{self.server.address}/api/v1/projects/default/runs/{run}/log/ws"
        count = 0
        with connect(url, additional_headers=headers, max_size=1 << 22, compression=None) as socket:
            for message in socket:
                count += str(message).count('"seq"')
        return count

    def cpu_s(self) -> float:
        """Processor time of the server so far."""
        words = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """Its highest memory since `forget_peak`."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def forget_peak(self) -> None:
        """Count the highest memory from here on."""
        Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")


def measure(watched: Watched, given: argparse.Namespace) -> None:
    """Rows, interleaved; then the flood."""
    ways = {
        "a stream of text": watched.streamed,
        "a stream of JSON": lambda run: watched.streamed(run, "&format=json"),
        "a WebSocket": watched.socketed,
    }
    took: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    cpu: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for task in ("plain", "masked"):
        watched.streamed(watched.begin(task, 1000, PLAIN))
    watched.forget_peak()
    before = watched.peak_mb()
    for _ in range(given.rounds):
        for task in ("plain", "masked"):
            for kind, line in (("plain", PLAIN), ("logged", LOGGED)):
                for way, watch in ways.items():
                    row = way, kind, task
                    used, began = watched.cpu_s(), time.perf_counter()
                    found = watch(watched.begin(task, given.lines, line))
                    took[row].append(time.perf_counter() - began)
                    cpu[row].append(watched.cpu_s() - used)
                    assert found >= given.lines, (row, found)
    print(f"{given.lines} lines of 100 bytes, medians of {given.rounds} rounds")
    for row, seconds in took.items():
        way, kind, task = row
        middle, used = statistics.median(seconds), statistics.median(cpu[row])
        secrets = f"{SECRETS} secrets" if task == "masked" else "no secret"
        print(
            f"{way:18} {kind:7} lines, {secrets:11} {middle:6.2f} s {given.lines / middle:9.0f} lines/s"
            f"  (min {min(seconds):.2f}, max {max(seconds):.2f}; server cpu {used:.2f} s)"
        )
    print(f"memory: {before:.0f} MB before, {watched.peak_mb():.0f} MB at most")
    if given.flood:
        watched.forget_peak()
        before, began = watched.peak_mb(), time.perf_counter()
        watched.streamed(watched.begin("masked", 10_000_000, PLAIN))
        took_s, most = time.perf_counter() - began, watched.peak_mb()
        print(f"flood: a gigabyte in {took_s:.1f} s, {before:.0f} MB before, {most:.0f} MB at most")


def main() -> None:
    """Where sandbox users can reach it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--lines", type=int, default=100_000)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--flood", action="store_true", help="print a gigabyte as well")
    given = words.parse_args()
    place = Path(tempfile.mkdtemp(prefix="longshore-logs-", dir="/var/tmp"))
    place.chmod(0o755)
    watched = Watched(place)
    try:
        measure(watched, given)
    finally:
        watched.server.stop()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
