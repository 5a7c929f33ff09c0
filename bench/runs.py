# SPDX-License-Identifier: Apache-2.0
"""What a run costs from its claim to its recorded result: cold, in a cell that has booted ahead, and warm.

    python bench/runs.py [--rounds 30] [--profile]

The control plane is the real one in this process (every run is claimed, marked as started, logged and
finished, durably), except where a row says that it answers at once. The sandbox is the strictest that this
machine has. All rows are medians of rounds that were interleaved, floors included, so that a noisy machine
disturbs them alike.
"""

import argparse
import asyncio
import contextlib
import cProfile
import io
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from longshore.compose import House, open_house
from longshore.domain.logs import LogLine
from longshore.domain.network import NetworkMode
from longshore.domain.order import Invocation, Lease, Phase
from longshore.domain.project import Actor, Project, Role
from longshore.domain.run import RunResult, RunState, TriggerKind
from longshore.domain.task import Reuse
from longshore.interceptor.pool import Pool
from longshore.services.tasks import TaskDraft
from longshore.settings import Settings

PACKAGE = "echo.zip"
HANDLER = """
import os

def handler(event, context):
    if "exit" in event:
        os._exit(event["exit"])
    return event
"""
WALLS = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--symlink", "usr/bin", "/bin"),
)
SAYS = {
    "python": "floor: python -I -S -c pass",
    "bwrap": "floor: the same in a bare bwrap",
    "cold": "cold, without a cell",
    "alone": "   the same without a network",
    "own": "   and with an interpreter started for it (PYTHON*, LD_*)",
    "anew": "cold, in an environment whose runtime was restarted",
    "cell": "cold, in a cell that has booted ahead",
    "package": "   of it package (known to be here)",
    "boot": "   of it boot (package and limits into the cell)",
    "init": "   of it init (code is loaded)",
    "first": "   of it handler",
    "swift": "cold, in a cell, the control plane answers at once",
    "never": "the same with reuse: never (its end waits for the kill)",
    "warm": "warm",
    "redeem": "   of it the invocation (read, secrets opened)",
    "thaw": "   of it boot (environment found, inputs, usage)",
    "handler": "   of it handler (with its start on record)",
    "log": "   of it the log, handed over",
    "instant": "warm, the control plane answers at once",
    "idle": "warm, after a rest (frozen, thawed)",
}


COLD = {"package": "package", "boot": "boot", "init": "init", "handler": "first"}
WARM = {"claimed": "redeem", "boot": "thaw", "handler": "handler", "upload": "log"}


@dataclass
class Instant:
    """The part of a Link that a run in a cell at hand asks, answered at once."""

    lease: Lease
    invocation: Invocation
    ended: RunResult | None = None

    async def redeem(self, lease: Lease) -> Invocation:
        return self.invocation

    async def extend(self, lease: Lease, phase: Phase) -> Lease:
        return self.lease

    async def log(self, lease: Lease, lines: Sequence[LogLine]) -> None:
        return

    async def finish(self, lease: Lease, result: RunResult) -> None:
        self.ended = result


@dataclass
class Bench:
    """A house without agent: the bench claims and carries out by itself."""

    house: House
    project: Project
    actor: Actor
    base: str
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def task(self, name: str, **more: object) -> None:
        """A task over the one package."""
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        draft = TaskDraft(name=name, runtime=version, handler="app.handler", package=PACKAGE, **more)  # type: ignore[arg-type]
        await self.house.tasks.create(self.project, draft, actor=self.actor)

    async def machinery(self, task: str, row: str) -> None:
        """The same with a control plane that takes no time: what this machine's side alone costs."""
        house = self.house
        await house.runs.submit(self.project, task, {"a": 1}, trigger=TriggerKind.API, actor=self.actor)
        lease = await house.dispatch.claim(house.agent.me, house.agent.slots.free)
        assert lease is not None
        instant = Instant(lease, await house.dispatch.redeem(lease))
        executor = replace(house.agent.executor, link=instant)  # type: ignore[type-var]
        began = time.perf_counter()
        await executor.carry_out(lease, lambda: None)
        self.took[row].append((time.perf_counter() - began) * 1000)
        assert instant.ended is not None
        await house.dispatch.extend(lease, Phase.USER_CODE)
        await house.dispatch.finish(lease, instant.ended)

    async def run(
        self,
        task: str,
        row: str,
        parts: "dict[str, str] | None" = None,
        *,
        cells: bool = True,
        event: "dict[str, int] | None" = None,
    ) -> None:
        """From the claim to the recorded end. Without `cells` it finds none that has booted ahead."""
        house = self.house
        given = event or {"a": 1}
        run = await house.runs.submit(self.project, task, given, trigger=TriggerKind.API, actor=self.actor)
        lease = await house.dispatch.claim(house.agent.me, house.agent.slots.free)
        assert lease is not None
        executor = house.agent.executor
        if not cells:
            executor = replace(executor, pool=Pool(executor.pool._sandbox, refill_after_s=1e6))  # type: ignore[type-var,attr-defined]
        began = time.perf_counter()
        await executor.carry_out(lease, lambda: None)
        self.took[row].append((time.perf_counter() - began) * 1000)
        ended = await house.runs.get(self.project, run.id)
        assert ended.state is (RunState.FAILED if event else RunState.SUCCEEDED), ended.reason
        for step in ended.steps:
            if parts and step.name in parts:
                self.took[parts[step.name]].append(step.ms)

    async def cell_ready(self) -> None:
        """Until a cell waits."""
        pool = self.house.agent.executor.pool  # type: ignore[attr-defined]
        while not any(shelf.ready for shelf in pool._shelves.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.15)

    async def floor(self, row: str, *before: str) -> None:
        """A process from its start to its end."""
        began = time.perf_counter()
        command = [*before, self.base, "-I", "-S", "-c", "pass"]
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)
        assert await process.wait() == 0
        self.took[row].append((time.perf_counter() - began) * 1000)

    async def round(self, number: int) -> None:
        """Each row once."""
        await self.floor("python")
        if shutil.which("bwrap"):
            await self.floor("bwrap", *WALLS, "--ro-bind", "/", "/", "--")
        none = NetworkMode.NONE
        await self.task(f"cold-{number}")
        await self.task(f"alone-{number}", network=none)
        await self.task(f"own-{number}", network=none, environment={"PYTHONHASHSEED": "random"})
        for row in ("cold", "alone", "own"):
            await self.run(f"{row}-{number}", row, cells=False)
        await self.run(f"alone-{number}", "crashed", event={"exit": 1})
        await asyncio.sleep(0.3)
        await self.run(f"alone-{number}", "anew")
        name = f"cell-{number}"
        await self.task(name)
        await self.cell_ready()
        await self.run(
            name, "cell", {"package": "package", "boot": "boot", "init": "init", "handler": "first"}
        )
        for _ in range(5):
            await self.run(name, "warm", WARM)
            await self.machinery(name, "instant")
        await asyncio.sleep(0.2)
        await self.run(name, "idle")
        await self.cell_ready()
        await self.task(f"swift-{number}")
        await self.machinery(f"swift-{number}", "swift")
        await self.cell_ready()
        await self.run("never", "never")

    def show(self) -> None:
        """One row a line: median, and how noisy it was."""
        for row, says in SAYS.items():
            values = sorted(self.took[row])
            if values:
                low, high = values[len(values) // 20], values[-1 - len(values) // 20]
                print(
                    f"{says:58} {statistics.median(values):9.2f} ms"
                    f"  (p5 {low:.2f}, p95 {high:.2f}, n {len(values)})"
                )


@contextlib.asynccontextmanager
async def opened(data: Path) -> AsyncIterator[Bench]:
    """A house with the package and the task `never` in it, and a first run behind it."""
    async with open_house(Settings(data=data, cpu_cores=4), base_url="") as house:
        actor = Actor(name="bench", role=Role.ADMIN, project_id=None)
        project = await house.access.project("default", actor)
        bench = Bench(house, project, actor, str(Path(sys.executable).resolve()))  # noqa: ASYNC240
        await house.dispatch.register(house.agent.me)

        async def package() -> AsyncIterator[bytes]:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr("app.py", HANDLER)
            yield out.getvalue()

        await house.buckets.put(project, "tasks", PACKAGE, package(), actor=actor)
        await bench.task("never", reuse=Reuse.NEVER)
        await bench.run("never", "first of all")
        yield bench


async def measure(data: Path, given: argparse.Namespace) -> None:
    """All of it."""
    async with opened(data) as bench:
        house = bench.house
        for number in range(given.rounds):
            await bench.round(number)
        bench.show()
        print(f"isolation: {house.agent.me.isolation}")
        if given.profile:
            profile = cProfile.Profile()
            profile.enable()
            for _ in range(300):
                await bench.machinery("cell-0", "profiled")
            profile.disable()
            pstats.Stats(profile).sort_stats("cumtime").print_stats("longshore", 70)


def main() -> None:
    """Where sandbox users can reach it, and on the loop that the server has."""
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=30)
    words.add_argument("--profile", action="store_true")
    given = words.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(Path(name) / "data", given))


if __name__ == "__main__":
    main()
