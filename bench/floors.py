# SPDX-License-Identifier: Apache-2.0
"""Floors: what the machine itself takes for the same, without any product around it."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.child import Child, finished, free_port
from bench.http_client import Target, load, written
from bench.machine import ALL_CORES, SERVER_CORES, on, place, pss_mb
from bench.measure import COLD, DONE, EIGHT, FLOW, MEMORY, ONE, QUEUE, WARM, Effort, Measure, NotThere, Took
from bench.table import Kind, Row

PYTHON = str(Path(sys.executable).resolve())
"""The interpreter itself, without the virtual environment around it: what runs in our cells too."""
WALLS = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"),
    *("--ro-bind", "/", "/", "--"),
)
ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
LINES = "import sys\nfor _ in range({}): sys.stdout.write('x' * 99 + '\\n')"
GROUPED = 50


def row(key: str, says: str, unit: str) -> Row:
    """A floor."""
    return Row(key=key, kind=Kind.FLOOR, says=says, unit=unit)


@dataclass(slots=True)
class Floors:
    """All of them; a bare ASGI server and a bare interpreter run meanwhile."""

    effort: Effort
    _port: int = 0
    _children: list[Child] = field(default_factory=list)
    _directory: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start the server and the interpreter that echoes."""
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        self._port = free_port()
        uvicorn = (sys.executable, "-m", "uvicorn", "bench.bare_asgi:app", "--port", str(self._port))
        self._children = [
            Child([PYTHON, "-u", "-c", ECHO]),
            Child([*uvicorn, "--no-access-log", "--log-level", "critical", "--lifespan", "off"], talks=False),
        ]
        self._children[1].until_listening(self._port)

    def stop(self) -> None:
        """End both."""
        for child in self._children:
            child.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """Each beside what it is the floor of."""
        lines = f"{self.effort.log_lines:,} lines of 100 bytes through a pipe to a reader"
        return (
            _measure(COLD, self._python, row("python", "python3 -c pass", "ms")),
            _measure(COLD, self._bwrap, row("bwrap", "bwrap python3 -c pass", "ms")),
            _measure(WARM, self._echo, row("echo", "a line to a waiting python3 and back, by pipe", "ms")),
            _measure(ONE, self._one, row("asgi.1", "bare ASGI answer (uvicorn)", "ms")),
            _measure(
                EIGHT,
                self._eight,
                row("asgi.8", "bare ASGI answer (uvicorn)", "/s"),
                row("client", "the client's own share of a core then", "%"),
            ),
            _measure(
                QUEUE,
                self._commits,
                row("commits", "SQLite, a durable (FULL) commit for each row", "/s"),
                row("grouped", f"SQLite, a durable (FULL) commit for {GROUPED} rows", "/s"),
            ),
            _measure(DONE, self._commit, row("commit", "SQLite, one durable (FULL) commit", "ms")),
            _measure(FLOW, self._lines, row("lines", lines, "lines/s")),
            _measure(FLOW, self._file, row("file", "writing a file, with fsync", "MB/s")),
            _measure(MEMORY, self._idle, row("idle", "a python3 that waits (PSS)", "MB")),
        )

    def _python(self) -> Took:
        return {"python": [finished([PYTHON, "-c", "pass"])[0] for _ in range(self.effort.processes)]}

    def _bwrap(self) -> Took:
        if not shutil.which("bwrap"):
            raise NotThere("bwrap is not installed")
        command = [*WALLS, PYTHON, "-c", "pass"]
        return {"bwrap": [finished(command)[0] for _ in range(self.effort.processes)]}

    def _echo(self) -> Took:
        child, took = self._children[0], []
        for _ in range(200):
            began = time.perf_counter()
            child.stdin.write(b'{"a":1}\n')
            child.stdin.flush()
            child.stdout.readline()
            took.append((time.perf_counter() - began) * 1000)
        return {"echo": took}

    def _one(self) -> Took:
        place(self._children[1].process.pid, SERVER_CORES)
        return {"asgi.1": load(self._target(), seconds=self.effort.seconds).latencies_ms}

    def _eight(self) -> Took:
        place(self._children[1].process.pid, ALL_CORES)
        asked = load(self._target(), clients=8, seconds=self.effort.seconds, cores=ALL_CORES)
        return {"asgi.8": [asked.rate], "client": [asked.busy * 100]}

    def _target(self) -> Target:
        return Target(port=self._port, request=written("POST", "/", body=b'{"a":1}'), expect='{"a":1}')

    def _commits(self) -> Took:
        with on(SERVER_CORES):
            return {
                "commits": [1000 / _rows_ms(self._place, 200, 1)],
                "grouped": [1000 / _rows_ms(self._place, 5000, GROUPED)],
            }

    def _commit(self) -> Took:
        with on(SERVER_CORES):
            return {"commit": [_rows_ms(self._place, 20, 1) for _ in range(5)]}

    @property
    def _place(self) -> Path:
        assert self._directory is not None
        return Path(self._directory.name)

    def _lines(self) -> Took:
        with on(SERVER_CORES):
            began = time.perf_counter()
            command = [PYTHON, "-c", LINES.format(self.effort.log_lines)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        got = sum(1 for _ in process.stdout)
        took = time.perf_counter() - began
        process.wait()
        assert got == self.effort.log_lines
        return {"lines": [got / took]}

    def _file(self) -> Took:
        piece = os.urandom(1 << 20)
        with on(SERVER_CORES), open(self._place / "file", "wb") as file:
            began = time.perf_counter()
            file.writelines(piece for _ in range(self.effort.megabytes))
            file.flush()
            os.fsync(file.fileno())
            took = time.perf_counter() - began
        return {"file": [self.effort.megabytes / took]}

    def _idle(self) -> Took:
        return {"idle": [pss_mb(self._children[0].process.pid)]}


def _measure(group: str, take: Callable[[], Took], *rows: Row) -> Measure:
    return Measure(group=group, rows=rows, take=take)


def _rows_ms(directory: Path, rows: int, in_a_commit: int) -> float:
    """Milliseconds a row, written as a write-ahead log with FULL synchronisation writes them."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (a TEXT)")
    began = time.perf_counter()
    for _ in range(rows // in_a_commit):
        connection.execute("BEGIN")
        for _ in range(in_a_commit):
            connection.execute("INSERT INTO t VALUES (?)", ("x" * 500,))
        connection.execute("COMMIT")
    took = (time.perf_counter() - began) * 1000
    connection.close()
    return took / (rows // in_a_commit * in_a_commit)
