# SPDX-License-Identifier: Apache-2.0
"""Longshore without HTTP, doing as it is told: the other end of ours_inside.py.

    python -m bench.inside DATA       one line of JSON in, one line of JSON out

Every run is claimed, marked as started, logged and finished, durably, in the machine's strictest sandbox.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bench.runs import Bench, opened

OWN_START = {"PYTHONHASHSEED": "random"}
"""An environment that changes how an interpreter starts: no cell fits, each run boots its own."""


@dataclass(slots=True)
class Inside:
    """Says how many milliseconds lay between claim and recorded result."""

    bench: Bench
    tasks: int = 0

    async def cold(self) -> None:
        """A new task, which no cell that waits fits."""
        await self._new_task(environment=OWN_START)
        await self.bench.run(self._task, "took")

    async def cell(self) -> None:
        """A new task, and a cell that has booted ahead of its first run."""
        await self._new_task()
        await self.bench.cell_ready()
        await self.bench.run(self._task, "took")

    async def never(self) -> None:
        """A task that keeps no environment: its end waits until the cell is gone."""
        await self.bench.cell_ready()
        await self.bench.run("never", "took")

    async def warm(self) -> None:
        """The same task once more."""
        await self.bench.run(self._task, "took")

    async def _new_task(self, **more: object) -> None:
        self.tasks += 1
        await self.bench.task(self._task, **more)

    @property
    def _task(self) -> str:
        return f"task-{self.tasks}"


async def serve(data: Path) -> None:
    """Answer until there is nothing more to read."""
    async with opened(data) as bench:
        inside = Inside(bench)
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "cold": inside.cold,
            "cell": inside.cell,
            "never": inside.never,
            "warm": inside.warm,
        }
        print("ready", bench.house.agent.me.isolation, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            bench.took["took"] = []
            for _ in range(asked["times"]):
                await acts[asked["act"]]()
            print("answer", json.dumps({"ms": bench.took["took"]}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
