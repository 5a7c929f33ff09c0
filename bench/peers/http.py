# SPDX-License-Identifier: Apache-2.0
"""Peers that serve over HTTP. None of them isolates, authenticates, records or limits what it runs."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT, Child, free_port
from bench.http_client import Connection, Target, load, written
from bench.machine import ALL_CORES, SERVER_CORES, place, pss_mb
from bench.measure import COLD, EIGHT, MEMORY, ONE, Effort, Measure, NotThere, Took
from bench.ours_http import EIGHT_KEY, ONE_KEY
from bench.ours_inside import COLD_KEY
from bench.peers.install import NODE, PYTHON, QUIET, copied, missing
from bench.table import Kind, Row

EVENT = b'{"a":1}'
LAMBDA = "/2015-03-31/functions/bench-dev-{}/invocations"
WORKERS = min(2, len(ALL_CORES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """How to start it on a port with so many workers, where it lets itself be told, and where its handlers
    answer: a path for each name."""

    key: str
    says: str
    program: Path
    command: Callable[[str, int], Sequence[str]]
    paths: dict[str, str]
    answer: str = '{"a":1}'
    takes_seconds: bool = False


def _offline(port: str, _: int) -> Sequence[str]:
    others = ("--httpPort", str(free_port()), "--albPort", str(free_port()))
    return (str(NODE / "serverless"), "offline", "--lambdaPort", port, *others)


def _functions(port: str, _: int) -> Sequence[str]:
    return (
        *(str(PYTHON / "functions-framework"), "--host", "127.0.0.1"),
        *("--port", port, "--target", "handler", "--source", "gcf.py"),
    )


def _ric(port: str, workers: int) -> Sequence[str]:
    api = (sys.executable, "-m", "bench.peers.runtime_api", port, str(workers))
    return (*api, str(PYTHON / "python"), "-m", "awslambdaric", "handler.handler")


PRODUCTS = (
    Product(
        key="awslambdaric",
        says="AWS's awslambdaric behind a minimal Runtime API",
        program=PYTHON / "python",
        command=_ric,
        paths={"": "/"},
        answer='{"a": 1}',
    ),
    Product(
        key="functions-framework",
        says="functions-framework (Python)",
        program=PYTHON / "functions-framework",
        command=_functions,
        paths={"": "/"},
    ),
    Product(
        key="serverless-offline",
        says="serverless-offline",
        program=NODE / "serverless",
        command=_offline,
        paths={"python": LAMBDA.format("python"), "node": LAMBDA.format("node")},
        takes_seconds=True,
    ),
)


@dataclass(slots=True)
class HttpPeer:
    """One of them, running."""

    effort: Effort
    product: Product
    _child: Child | None = None
    _port: int = 0
    _directory: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start it, and let it start as many handlers as 8 clients need."""
        if why := missing(self.product.program):
            raise NotThere(why)
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        copied(Path(self._directory.name))
        self._port, self._child = self._started(WORKERS)
        self._child.until_listening(self._port)
        for name in self.product.paths:
            load(self._target(self._port, name), clients=8, count=400)

    def stop(self) -> None:
        """End it and all that it started."""
        if self._child is not None:
            self._child.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """Start, one client, eight clients, memory."""
        key, says = self.product.key, self.product.says
        cold = self._row("cold", "", "ms", "python", COLD_KEY, ": start to the first answer")
        every = 3 if self.product.takes_seconds else 1
        idle = Row(key=f"{key}.mb", kind=Kind.PEER, says=f"{says}, after all of this (PSS)", unit="MB")
        return (
            Measure(group=COLD, rows=[cold], take=self._cold, every=every),
            *(self._measure(ONE, name, self._one, "ms", "asgi.1", ONE_KEY) for name in self.product.paths),
            *(
                self._measure(EIGHT, name, self._eight, "/s", "asgi.8", EIGHT_KEY)
                for name in self.product.paths
            ),
            Measure(group=MEMORY, rows=[idle], take=self._memory),
        )

    def _row(self, what: str, name: str, unit: str, floor: str, ours: str, more: str = "") -> Row:
        says = f"{self.product.says}{', a Python handler' if name == 'python' else ''}"
        says += f"{', a Node handler' if name == 'node' else ''}{more}"
        key = f"{self.product.key}.{name}.{what}"
        return Row(key=key, kind=Kind.PEER, says=says, unit=unit, floor=floor, ours=ours)

    def _measure(
        self, group: str, name: str, ask: Callable[[Target], list[float]], unit: str, floor: str, ours: str
    ) -> Measure:
        row = self._row(unit, name, unit, floor, ours)
        return Measure(group=group, rows=[row], take=lambda: {row.key: ask(self._target(self._port, name))})

    def _started(self, workers: int) -> tuple[int, Child]:
        assert self._directory is not None
        home = Path(self._directory.name)
        port = free_port()
        command = self.product.command(str(port), workers)
        environment = {**QUIET, "PYTHONPATH": f"{ROOT}:{home / 'code'}"}
        return port, Child(
            command, cwd=home / "code", environment=environment, errors=home / "errors", talks=False
        )

    def _target(self, port: int, name: str) -> Target:
        headers = {"Content-Type": "application/json"}
        request = written("POST", self.product.paths[name], body=EVENT, headers=headers)
        return Target(port=port, request=request, expect=self.product.answer)

    def _first_answer(self, port: int, name: str) -> None:
        with contextlib.closing(Connection(port)) as connection:
            connection.ask(self._target(port, name).request.encode())

    def _cold(self) -> Took:
        name = next(iter(self.product.paths))
        began = time.perf_counter()
        port, child = self._started(1)
        try:
            child.until_listening(port)
            self._first_answer(port, name)
            took = (time.perf_counter() - began) * 1000
        finally:
            child.stop()
        return {f"{self.product.key}..cold": [took]}

    def _one(self, target: Target) -> list[float]:
        self._place(SERVER_CORES)
        return load(target, seconds=self.effort.seconds).latencies_ms

    def _eight(self, target: Target) -> list[float]:
        self._place(ALL_CORES)
        return [load(target, clients=8, seconds=self.effort.seconds, cores=ALL_CORES).rate]

    def _place(self, cores: frozenset[int]) -> None:
        assert self._child is not None
        place(self._child.process.pid, cores)

    def _memory(self) -> Took:
        assert self._child is not None
        return {f"{self.product.key}.mb": [pss_mb(self._child.process.pid)]}
