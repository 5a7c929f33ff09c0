# SPDX-License-Identifier: Apache-2.0
"""Longshore in process: from the claim of a run to its recorded result, without HTTP."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.machine import children_named, pss_mb
from bench.measure import COLD, MEMORY, WARM, Effort, Measure, NotThere, Took
from bench.table import Kind, Row

COLD_KEY = "ours.cell"
WARM_KEY = "ours.warm"


@dataclass(slots=True)
class Inside:
    """A process that claims and carries out."""

    effort: Effort
    isolation: str = ""
    _child: Child | None = None
    _directory: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Where users of sandboxes can reach it."""
        self._directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        home = Path(self._directory.name)
        home.chmod(0o755)
        command = [sys.executable, "-m", "bench.inside", str(home / "data")]
        self._child = Child(command, errors=home / "errors")
        self.isolation = self._child.line("ready ")

    def stop(self) -> None:
        """End it, with its cells."""
        if self._child is not None:
            self._child.stdin.close()
            self._child.process.wait(timeout=30)
            self._child.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def measures(self) -> Sequence[Measure]:
        """Cold and warm, and what a cell holds."""
        few = self.effort.processes
        return (
            self._measure(COLD, "cell", few, COLD_KEY, "a first run, in a cell booted ahead", "bwrap"),
            self._measure(COLD, "cold", few, "ours.cold", "a first run, without such a cell", "bwrap"),
            self._measure(
                COLD, "never", few, "ours.never", "a run with reuse: never (until its cell is gone)", "bwrap"
            ),
            self._measure(WARM, "warm", 20 * few, WARM_KEY, "a warm run, without HTTP", "echo"),
            Measure(
                group=MEMORY,
                rows=[_row("ours.cell_mb", "a cell, all its processes (PSS)", "MB", "idle")],
                take=self._cells,
            ),
        )

    def _measure(self, group: str, act: str, times: int, key: str, says: str, floor: str) -> Measure:
        def take() -> Took:
            assert self._child is not None
            took = self._child.ask(act=act, times=times)["ms"]
            assert isinstance(took, list)
            return {key: took}

        return Measure(group=group, rows=[_row(key, says, "ms", floor)], take=take)

    def _cells(self) -> Took:
        assert self._child is not None
        cells = children_named(self._child.process.pid, "bwrap")
        if not cells:
            raise NotThere("no cell is alive")
        return {"ours.cell_mb": [pss_mb(cell) for cell in cells]}


def _row(key: str, says: str, unit: str, floor: str) -> Row:
    return Row(key=key, kind=Kind.OURS, says=says, unit=unit, floor=floor)
