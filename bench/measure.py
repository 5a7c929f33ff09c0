# SPDX-License-Identifier: Apache-2.0
"""Things and their measures: what a floor, Longshore and a peer have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.table import Row

COLD = "Cold: from nothing to a result (peers isolate nothing)"
WARM = "Warm, in process: from the claim to the recorded result"
ONE = "Warm over HTTP, one client (peers isolate, authenticate and record nothing)"
EIGHT = "Warm over HTTP, 8 clients, free cores"
QUEUE = "Queueing"
DONE = "From queued to done"
FLOW = "Logs, files, lists"
MEMORY = "Memory"
GROUPS = (COLD, WARM, ONE, EIGHT, QUEUE, DONE, FLOW, MEMORY)

Took = Mapping[str, Sequence[float]]
"""Values by the key of their row."""


class NotThere(Exception):
    """What is to be measured does not exist here; the sentence becomes the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What one look brings. `every` how many rounds it is taken: what takes seconds is taken less often."""

    group: str
    rows: Sequence[Row]
    take: Callable[[], Took]
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done for one look."""

    rounds: int
    seconds: float
    processes: int
    runs: int
    history: int
    log_lines: int
    megabytes: int


FULL = Effort(rounds=10, seconds=1.0, processes=3, runs=500, history=10_000, log_lines=100_000, megabytes=100)
QUICK = Effort(rounds=2, seconds=0.3, processes=2, runs=100, history=10_000, log_lines=100_000, megabytes=50)


class Thing(Protocol):
    """Something that runs while its measures are taken. Its rows are known before it has started, so that one
    that cannot start is a row that says so."""

    def measures(self) -> Sequence[Measure]: ...

    def start(self) -> None: ...

    def stop(self) -> None:
        """End everything it started, which may be nothing, or half of it."""
        ...
