# SPDX-License-Identifier: Apache-2.0
"""Peers that start a process tree for each run. None of them isolates what it runs."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import finished
from bench.floors import PYTHON as BARE_PYTHON
from bench.measure import COLD, Effort, Measure, NotThere, Took
from bench.ours_inside import COLD_KEY
from bench.peers.install import NODE, PYTHON, QUIET, copied, missing
from bench.table import Kind, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a peer is told to run the handler once, and what it prints then."""

    key: str
    says: str
    words: Sequence[str]
    prints: str
    takes_seconds: bool = False


COMMANDS = (
    Command(
        key="once",
        says="a fresh python3 for each run, as Carrier's runtime has it, without its container",
        words=(BARE_PYTHON, "once.py", "handler.handler", '{"a": 1}'),
        prints='{"a": 1}',
    ),
    Command(
        key="lambda-local",
        says="lambda-local (Node handler)",
        words=(str(NODE / "lambda-local"), "-l", "handler.js", "-h", "handler", "-e", "event.json"),
        prints='"a": 1',
    ),
    Command(
        key="python-lambda-local",
        says="python-lambda-local",
        words=(str(PYTHON / "python-lambda-local"), "-f", "handler", "-t", "60", "handler.py", "event.json"),
        prints="{'a': 1}",
    ),
    Command(
        key="invoke-local",
        says="serverless invoke local (Python handler)",
        words=(str(NODE / "serverless"), "invoke", "local", "-f", "python", "-d", '{"a": 1}'),
        prints='"a": 1',
        takes_seconds=True,
    ),
)


@dataclass(slots=True)
class ColdPeers:
    """Nothing of them runs between runs."""

    effort: Effort
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _code: Path = Path()

    def start(self) -> None:
        """Lay out their code."""
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        self._code = copied(Path(self._directory.name))

    def stop(self) -> None:
        """Remove it."""
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """One each."""
        return [self._measure(command) for command in COMMANDS]

    def _measure(self, command: Command) -> Measure:
        row = Row(
            key=command.key, kind=Kind.PEER, says=command.says, unit="ms", floor="python", ours=COLD_KEY
        )

        def take() -> Took:
            if why := missing(Path(command.words[0])):
                raise NotThere(why)
            times = 1 if command.takes_seconds else self.effort.processes
            return {command.key: [self._ran(command) for _ in range(times)]}

        return Measure(group=COLD, rows=[row], take=take, every=3 if command.takes_seconds else 1)

    def _ran(self, command: Command) -> float:
        took, said = finished(command.words, cwd=self._code, environment=QUIET)
        if command.prints not in said:
            raise RuntimeError(f"a wrong answer: {said[-200:]}")
        return took
