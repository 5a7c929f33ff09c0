# SPDX-License-Identifier: Apache-2.0
"""Task queues on Redis: a worker, a producer, a broker. None isolates, authenticates, keeps a record or a
log. As Redis comes, a power cut takes what it was given, so in one row it writes and syncs each change."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.child import Child, free_port
from bench.machine import ALL_CORES, CLIENT_CORES, SERVER_CORES, place, pss_mb
from bench.measure import DONE, MEMORY, QUEUE, Effort, Measure, NotThere
from bench.ours_http import BACK_KEY, DONE_KEY, QUEUE_KEY
from bench.peers.install import CODE, PYTHON, missing
from bench.table import Kind, Row

WORKERS = str(min(2, len(ALL_CORES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How to start its worker and its broker; `app` of peers/code has the task and a producer."""

    key: str
    says: str
    app: str
    worker: Sequence[str]
    redis: Sequence[str] = ()


CELERY = (
    *(str(PYTHON / "celery"), "-A", "celery_app", "worker", "--concurrency", WORKERS),
    *("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"),
)
TASKIQ = (
    *(str(PYTHON / "taskiq"), "worker", "taskiq_app:broker"),
    *("--workers", WORKERS, "--log-level", "ERROR"),
)
QUEUES = (
    Queue(
        key="celery",
        says=f"Celery on Redis, prefork {WORKERS}, not durable",
        app="celery_app.py",
        worker=CELERY,
    ),
    Queue(
        key="celery-durable",
        says=f"Celery on Redis with appendfsync always, prefork {WORKERS}",
        app="celery_app.py",
        worker=CELERY,
        redis=("--appendonly", "yes", "--appendfsync", "always"),
    ),
    Queue(
        key="taskiq",
        says=f"taskiq on a Redis list, {WORKERS} workers, not durable",
        app="taskiq_app.py",
        worker=TASKIQ,
    ),
)


@dataclass(slots=True)
class QueuePeer:
    """One of them, running."""

    effort: Effort
    queue: Queue
    _children: list[Child] = field(default_factory=list)
    _directory: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Redis without files, a worker, a producer; one task there and back."""
        if why := missing(Path(self.queue.worker[0])) or missing("redis-server"):
            raise NotThere(why)
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        home, port = Path(self._directory.name), free_port()
        redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(home)]
        self._start([*redis, *self.queue.redis], home / "redis")
        self._children[0].until_listening(port)
        given = {"BENCH_REDIS": f"redis://127.0.0.1:{port}/0", "PYTHONDONTWRITEBYTECODE": "1"}
        self._start(self.queue.worker, home / "worker", given)
        self._start([str(PYTHON / "python"), self.queue.app], home / "producer", given)
        self._producer.line("ready")
        place(self._producer.process.pid, CLIENT_CORES)
        self._ask("back", 1)

    def _start(self, command: Sequence[str], errors: Path, environment: dict[str, str] | None = None) -> None:
        talks = errors.name == "producer"
        self._children.append(Child(command, cwd=CODE, environment=environment, errors=errors, talks=talks))

    def stop(self) -> None:
        """Producer, worker, broker."""
        for child in reversed(self._children):
            child.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """How fast it takes tasks, how fast they are done, how long one takes."""
        key, says = self.queue.key, self.queue.says
        sent = self._row("sent", f"{says}: one producer", "/s", "commits", QUEUE_KEY)
        done = self._row("done", says, "/s", "grouped", DONE_KEY)
        back = self._row("back", f"{says}, there and back", "ms", "commit", BACK_KEY)
        memory = Row(key=f"{key}.mb", kind=Kind.PEER, says=f"{says}: broker and worker (PSS)", unit="MB")
        return (
            Measure(group=QUEUE, rows=[sent], take=lambda: {sent.key: [self._many(SERVER_CORES)[0]]}),
            Measure(group=DONE, rows=[done], take=lambda: {done.key: [self._many(ALL_CORES)[1]]}),
            Measure(group=DONE, rows=[back], take=lambda: {back.key: self._back()}),
            Measure(group=MEMORY, rows=[memory], take=lambda: {memory.key: [self._memory()]}),
        )

    def _row(self, what: str, says: str, unit: str, floor: str, ours: str) -> Row:
        return Row(
            key=f"{self.queue.key}.{what}", kind=Kind.PEER, says=says, unit=unit, floor=floor, ours=ours
        )

    @property
    def _producer(self) -> Child:
        return self._children[2]

    def _many(self, cores: frozenset[int]) -> tuple[float, float]:
        """Tasks sent a second, and done a second."""
        self._place(cores)
        sent, done = self._ask("many", self.effort.runs)
        return self.effort.runs / sent, self.effort.runs / done

    def _back(self) -> list[float]:
        self._place(SERVER_CORES)
        return self._ask("back", self.effort.runs // 5)

    def _ask(self, act: str, times: int) -> list[float]:
        answer = self._producer.ask(act=act, times=times)
        took = answer.get("ms") or answer.get("s")
        assert isinstance(took, list)
        return took

    def _place(self, cores: frozenset[int]) -> None:
        for child in self._children[:2]:
            place(child.process.pid, cores)
        place(self._producer.process.pid, ALL_CORES if cores == ALL_CORES else CLIENT_CORES)

    def _memory(self) -> float:
        return sum(pss_mb(child.process.pid) for child in self._children[:2])
