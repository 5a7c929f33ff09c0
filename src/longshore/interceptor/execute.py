# SPDX-License-Identifier: Apache-2.0
"""One run on this machine, from its lease to its last word.

redeem ─▶ package ─▶ boot ─▶ init ─▶ handler ─▶ upload ─▶ finish
             beside it: heartbeat, log tail, memory watch
"""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from longshore.domain.errors import Conflict, Invalid, LongshoreError
from longshore.domain.logs import LogLine
from longshore.domain.masking import Masks
from longshore.domain.order import Invocation, Lease
from longshore.domain.run import RunResult, RunState, Step, Usage
from longshore.domain.runtime import runtime
from longshore.interceptor import verdict
from longshore.interceptor.environment import Identity, environment_of, identity
from longshore.interceptor.heartbeat import Heartbeat
from longshore.interceptor.outputs import Output, collect
from longshore.interceptor.packages import PackageCache
from longshore.interceptor.runtimes import PreparedRuntime, Runtimes
from longshore.interceptor.tail import Tail
from longshore.interceptor.verdict import Verdict
from longshore.ports.clock import Clock
from longshore.ports.link import Link
from longshore.ports.sandbox import Cell, CellSpec, Exit, Sandbox
from longshore.runtime_api.server import Call, InitDone, Response, RuntimeApi

INIT_AT_LEAST_S = 10.0
TERM_GRACE_S = 0.3
LOG_DRAIN_S = 2.0
_log = structlog.get_logger()
T = TypeVar("T")


@dataclass(slots=True)
class Watch:
    """Measures the steps of a timeline."""

    steps: list[Step] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def step(self, name: str) -> float:
        """Close a step; its length in milliseconds."""
        now = time.monotonic()
        ms = round((now - self.since) * 1000, 3)
        self.steps.append(Step(name=name, ms=ms))
        self.since = now
        return ms


@dataclass(frozen=True, slots=True)
class Executor:
    """Carries out leases with what this machine has."""

    link: Link
    sandbox: Sandbox
    runtimes: Runtimes
    packages: PackageCache
    clock: Clock

    async def carry_out(self, lease: Lease) -> None:
        """Everything between a lease and its end. Never raises: a run must not take the agent down."""
        try:
            await self._carry_out(lease)
        except asyncio.CancelledError:
            raise
        except Conflict as error:
            _log.info("lease over", run=lease.run, reason=error.message)
        except Exception as error:  # noqa: BLE001  (the agent's per-run guard)
            _log.exception("run failed on the platform's side", run=lease.run)
            await self._give_up(lease, error)

    async def _give_up(self, lease: Lease, error: Exception) -> None:
        said = (
            error.message
            if isinstance(error, LongshoreError)
            else f"an internal error ({type(error).__name__})"
        )
        with contextlib.suppress(LongshoreError):
            await self.link.finish(
                lease, RunResult(state=RunState.FAILED, reason=f"the platform could not run it: {said}")
            )

    async def _carry_out(self, lease: Lease) -> None:
        watch = Watch()
        try:
            invocation = await self.link.redeem(lease)
        except Invalid:
            return  # recorded as failed by the control plane, with its reason
        async with Heartbeat(self.link, lease).kept() as heart:
            run = Attempt(self, heart, invocation, watch, self.clock)
            result = await run.result()
            if heart.lost:
                return
            await self.link.finish(heart.lease, result)

    async def spec(self, lease: Lease, invocation: Invocation, prepared: PreparedRuntime) -> CellSpec:
        """What the sandbox is to hold; fetches package and inputs that are not here yet."""
        code = await self.packages.code(self.link, lease, invocation.package)
        inputs: dict[str, Path] = {}
        for name, digest in invocation.inputs.items():
            inputs[name] = await self.packages.input(self.link, lease, digest)
        return CellSpec(
            runtime_root=prepared.root,
            python=prepared.python,
            runtime_dir=prepared.directory,
            package_dir=code,
            inputs=inputs,
            cpus=invocation.limits.cpus,
            memory_mb=invocation.limits.memory_mb,
            disk_mb=invocation.limits.disk_mb,
            pids=invocation.limits.pids,
        )


@dataclass(slots=True)
class Attempt:
    """One attempt at a run, with what it has gathered so far."""

    machine: Executor
    heart: Heartbeat
    invocation: Invocation
    watch: Watch
    clock: Clock
    notices: list[str] = field(default_factory=list)
    init_ms: float | None = None
    wall_ms: float | None = None

    async def result(self) -> RunResult:
        """Carry it out and say how it ended."""
        masks = Masks(self.invocation.masks)
        prepared, notice = self.machine.runtimes.choose(runtime(self.invocation.runtime))
        self.notices += [notice] if notice else []
        self.notices += ["a secret shorter than 4 characters is not masked in the log"] * bool(masks.unmasked)
        spec = await self.machine.spec(self.heart.lease, self.invocation, prepared)
        self.watch.step("package")
        cell = await self.machine.sandbox.launch(spec)
        self.watch.step("boot")
        try:
            return await self._in_cell(cell, masks, prepared)
        finally:
            await cell.kill()

    async def _in_cell(self, cell: Cell, masks: Masks, prepared: PreparedRuntime) -> RunResult:
        tail = Tail(
            run=self.invocation.run,
            attempt=self.invocation.attempt,
            first_seq=await self.machine.link.next_seq(self.heart.lease),
            masks=masks,
            sink=self._sink,
            now=self.clock.now,
        )
        await tail.start(stdout=cell.stdout, stderr=cell.stderr)
        for sentence in self.notices:
            tail.platform(f"WARNING {sentence}")
        named = identity(self.invocation, self.clock.now())
        api = RuntimeApi(cell.runtime_api)
        await api.start()
        try:
            ended = await self._init_and_invoke(cell, api, tail, named, prepared, masks)
        finally:
            await api.close()
        ended = await self._settled(cell, ended)
        usage = self._usage(cell)
        self._report(tail, usage, ended)
        output = os.dup(cell.output())
        await cell.kill()
        await tail.drain(LOG_DRAIN_S)
        try:
            await self._upload(output, tail)
        finally:
            os.close(output)
        await tail.close()
        self.watch.step("upload")
        return RunResult(
            state=ended.state,
            reason=ended.reason,
            payload=ended.payload,
            error=ended.error,
            usage=usage,
            cold=True,
            steps=tuple(self.watch.steps),
            notices=tuple(self.notices),
        )

    async def _sink(self, lines: Sequence[LogLine]) -> None:
        await self.machine.link.log(self.heart.lease, lines)

    async def _init_and_invoke(
        self,
        cell: Cell,
        api: RuntimeApi,
        tail: Tail,
        named: Identity,
        prepared: PreparedRuntime,
        masks: Masks,
    ) -> Verdict:
        """Load the handler's code, then give it the event. From here on the run counts as started."""
        if not await self.heart.started():
            return verdict.cancelled(self.heart.stopped.result())
        tail.platform(f"START RequestId: {self.invocation.run} Version: $LATEST")
        await cell.assign(environment_of(self.invocation, named, prepared.id), self.invocation.handler)
        limit = max(INIT_AT_LEAST_S, self.invocation.limits.timeout_s)
        ready = await self._first(cell, api.ready(), limit, verdict.init_timed_out(limit))
        self.init_ms = self.watch.step("init")
        if isinstance(ready, Verdict):
            return ready
        if not isinstance(ready, InitDone):
            return verdict.failed(self.invocation, ready.payload, "Runtime.Unknown", masks)
        timeout = self.invocation.limits.timeout_s
        deadline = datetime.now(UTC) + timedelta(seconds=timeout)
        call = Call(
            request_id=self.invocation.run,
            deadline_ms=int(deadline.timestamp() * 1000),
            arn=named.arn,
            event=self.invocation.event,
        )
        answer = await self._first(cell, api.invoke(call), timeout, verdict.timed_out(self.invocation))
        self.wall_ms = self.watch.step("handler")
        if isinstance(answer, Verdict):
            return answer
        if isinstance(answer, Response):
            return verdict.returned(self.invocation, answer.payload, masks)
        return verdict.failed(self.invocation, answer.payload, "Runtime.Unknown", masks)

    async def _first(
        self, cell: Cell, wanted: Coroutine[None, None, T], timeout: float, late: Verdict
    ) -> T | Verdict:
        """What comes first: the runtime's word, the end of its process, the time limit, a cancellation."""
        word = asyncio.ensure_future(wanted)
        gone = asyncio.ensure_future(cell.exited())
        try:
            await asyncio.wait(
                {word, gone, self.heart.stopped}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if word.done():
                return word.result()
            if gone.done():
                return self._exit_verdict(gone.result())
            stopped = self.heart.stopped.done()
            await self._stop(cell, gone)
            return verdict.cancelled(self.heart.stopped.result()) if stopped else late
        finally:
            for task in (word, gone):
                task.cancel()
            await asyncio.gather(word, gone, return_exceptions=True)

    async def _stop(self, cell: Cell, gone: "asyncio.Future[Exit]") -> None:
        """TERM, a moment to tidy up, then everything in the sandbox is killed."""
        await cell.terminate()
        await asyncio.wait({gone}, timeout=TERM_GRACE_S)
        await cell.kill()

    def _exit_verdict(self, ended: Exit) -> Verdict:
        if ended.oom_killed:
            return verdict.out_of_memory(self.invocation)
        if ended.signal is not None:
            return verdict.exited(self.invocation, f"signal: {ended.signal_name}")
        return verdict.exited(self.invocation, f"exit status {ended.code}" if ended.code else "")

    async def _settled(self, cell: Cell, ended: Verdict) -> Verdict:
        """An error that the memory watch caused is out of memory, whatever the runtime made of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                if ended.state is RunState.FAILED and (await cell.exited()).oom_killed:
                    return verdict.out_of_memory(self.invocation, ended.error)
        return ended

    def _usage(self, cell: Cell) -> Usage:
        used = cell.usage()
        return Usage(
            init_ms=self.init_ms,
            wall_ms=self.wall_ms,
            cpu_ms=round(used.cpu_ms, 3),
            peak_memory_mb=round(used.peak_memory_mb, 1),
        )

    def _report(self, tail: Tail, usage: Usage, ended: Verdict) -> None:
        """END and REPORT as Lambda writes them."""
        run, limits = self.invocation.run, self.invocation.limits
        wall = usage.wall_ms or 0.0
        tail.platform(f"END RequestId: {run}")
        parts = [
            f"REPORT RequestId: {run}",
            f"Duration: {wall:.2f} ms",
            f"Billed Duration: {math.ceil(wall)} ms",
            f"Memory Size: {limits.memory_mb} MB",
            f"Max Memory Used: {math.ceil(usage.peak_memory_mb or 0)} MB",
        ]
        parts += [f"Init Duration: {usage.init_ms:.2f} ms"] if usage.init_ms is not None else []
        parts += ["Status: timeout"] if ended.state is RunState.TIMED_OUT else []
        tail.platform("\t".join(parts) + "\t")
        if ended.state is not RunState.SUCCEEDED:
            tail.platform(f"{ended.state.value.upper()} {ended.reason or ''}".rstrip())

    async def _upload(self, directory: int, tail: Tail) -> None:
        """Keep what the handler left in its output directory, whatever became of the run."""
        limit = self.invocation.limits.disk_mb * 2**20
        async for found in collect(directory, limit=limit):
            if isinstance(found, Output):
                await self._keep(found)
            else:
                tail.platform(f"WARNING {found}")
                self.notices.append(found)

    async def _keep(self, output: Output) -> None:
        try:
            await self.machine.link.keep_file(self.heart.lease, output.name, output.content())
        except Invalid as error:
            self.notices.append(f"the file {output.name!r} was not kept: {error.message}")
