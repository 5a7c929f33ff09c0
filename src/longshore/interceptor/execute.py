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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from longshore.domain.errors import BadPackage, Conflict, Invalid, LongshoreError
from longshore.domain.logs import Level, LogLine
from longshore.domain.masking import Masks
from longshore.domain.order import Invocation, Lease
from longshore.domain.run import RunResult, RunState, Step, Usage
from longshore.domain.runtime import runtime
from longshore.interceptor import verdict
from longshore.interceptor.doors import Doors, leads_to
from longshore.interceptor.environment import Identity, environment_of, identity
from longshore.interceptor.heartbeat import Heartbeat, insist
from longshore.interceptor.outputs import Output, collect
from longshore.interceptor.packages import PackageCache
from longshore.interceptor.platform_door import platform
from longshore.interceptor.runtimes import Runtimes
from longshore.interceptor.tail import Tail
from longshore.interceptor.verdict import Verdict
from longshore.ports.clock import Clock
from longshore.ports.link import Link
from longshore.ports.sandbox import PLATFORM_PORT, Cell, CellSpec, Exit, Sandbox
from longshore.runtime_api.server import Call, InitFailed, Response, RuntimeApi

INIT_AT_LEAST_S = 10.0
TERM_GRACE_S = 0.3
EXIT_WITHIN_S = 1.0
LOG_DRAIN_S = 2.0
LOG_CLOSE_S = 10.0
GIVE_UP_WITHIN_S = 10.0
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
    platform_url: str = "http://127.0.0.1:8700"

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
        result = RunResult(state=RunState.FAILED, reason=f"the platform could not run it: {said}")
        with contextlib.suppress(LongshoreError):
            await insist(partial(self.link.finish, lease, result), within=GIVE_UP_WITHIN_S)

    async def _carry_out(self, lease: Lease) -> None:
        watch = Watch()
        async with Heartbeat(self.link, lease).kept() as heart:
            try:
                await self._attempt(heart, watch)
            except LongshoreError as error:
                if not heart.lost:
                    raise
                _log.info("lease lost", run=lease.run, reason=error.message)

    async def _attempt(self, heart: Heartbeat, watch: Watch) -> None:
        """Redeem, carry out, and say how it ended; nobody is told when the lease is lost."""
        try:
            invocation = await heart.insist(partial(self.link.redeem, heart.lease))
        except Invalid:
            return  # recorded as failed by the control plane, with its reason
        watch.step("claimed")
        result = await Attempt(self, heart, invocation, watch, self.clock).result()
        if not heart.lost:
            await heart.insist(partial(self.link.finish, heart.lease, result))

    async def spec(self, lease: Lease, invocation: Invocation, runtime_id: str) -> CellSpec:
        """What the sandbox is to hold; prepares and fetches what is not here yet."""
        prepared = await self.runtimes.prepared(runtime_id)
        code = await self.packages.code(self.link, lease, invocation.package)
        await self.packages.must_fit(invocation.package, runtime(runtime_id).version)
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
            network=invocation.network,
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
        token = self.heart.lease.token
        masks = Masks((*self.invocation.masks, *([] if token is None else [token.reveal()])))
        runtime_id, notice = self.machine.runtimes.stand_in(runtime(self.invocation.runtime))
        self.notices += [notice] if notice else []
        self.notices += ["a secret shorter than 4 characters is not masked in the log"] * bool(masks.unmasked)
        try:
            cell = await self._cell(runtime_id)
        except BadPackage as error:
            return self._result(verdict.unfit(error.message), Usage())
        if cell is None:
            return self._result(verdict.cancelled(self.heart.stopped.result()), Usage())
        self.notices += cell.notices
        try:
            return await self._in_cell(cell, masks, runtime_id)
        finally:
            await cell.kill()

    async def _cell(self, runtime_id: str) -> Cell | None:
        """A sandbox with everything in it; None when the run was stopped before it stood."""
        spec = await self._unless_stopped(self.machine.spec(self.heart.lease, self.invocation, runtime_id))
        self.watch.step("package")
        if spec is None:
            return None
        cell = await self._unless_stopped(self.machine.sandbox.launch(spec), undo=_kill)
        self.watch.step("boot")
        return cell

    async def _unless_stopped(
        self, wanted: Coroutine[None, None, T], undo: Callable[[T], Awaitable[None]] | None = None
    ) -> T | None:
        """Its result; None when the run is stopped first. What comes of it all the same is undone."""
        working = asyncio.ensure_future(wanted)
        taken = False
        try:
            waited: set[asyncio.Future[T] | asyncio.Future[str]] = {working, self.heart.stopped}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            taken = working.done()
            return working.result() if taken else None
        finally:
            if not taken:
                working.cancel()
                [left] = await asyncio.gather(working, return_exceptions=True)
                if undo is not None and not isinstance(left, BaseException):
                    await undo(left)

    async def _in_cell(self, cell: Cell, masks: Masks, runtime_id: str) -> RunResult:
        """From the first log line to the last. Output that is still on its way comes before END, and the
        memory limit has its say before anybody hears how the run ended."""
        tail = Tail(
            run=self.invocation.run,
            attempt=self.invocation.attempt,
            first_seq=await self.heart.insist(partial(self.machine.link.next_seq, self.heart.lease)),
            masks=masks,
            sink=self._sink,
            now=self.clock.now,
        )
        try:
            await tail.start(stdout=cell.stdout, stderr=cell.stderr)
            ended = await self._handled(cell, tail, masks, runtime_id)
            output = os.dup(cell.output())
            try:
                ended = await self._settled(cell, ended)
                usage = self._usage(cell)
                await tail.drain(LOG_DRAIN_S)
                self._report(tail, usage, ended)
                if not self.heart.lost:
                    await self._upload(output, tail)
            finally:
                os.close(output)
        finally:
            await cell.kill()  # before the log: who is stopped here must not run on while a log is slow
            await tail.close(within=0 if self.heart.lost else LOG_CLOSE_S)
        self.watch.step("upload")
        return self._result(ended, usage)

    def _result(self, ended: Verdict, usage: Usage) -> RunResult:
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

    async def _handled(self, cell: Cell, tail: Tail, masks: Masks, runtime_id: str) -> Verdict:
        """Load the handler's code, then give it the event. From here on the run counts as started."""
        for sentence in (*self.invocation.notices, *self.notices):
            tail.platform(f"WARNING {sentence}")
        api, doors = RuntimeApi(cell.runtime_api), Doors()
        await api.start()
        try:
            await self._open(doors, cell)
            if not await self.heart.started():
                return verdict.cancelled(self.heart.stopped.result())
            tail.platform(f"START RequestId: {self.invocation.run} Version: $LATEST")
            named = identity(self.invocation, self.clock.now())
            environment = environment_of(self.invocation, named, runtime_id, self.heart.lease.token)
            await cell.assign(environment, self.invocation.handler)
            return await self._init(cell, api, masks) or await self._invoke(cell, api, named, masks)
        finally:
            await doors.close()
            await api.close()

    async def _open(self, doors: Doors, cell: Cell) -> None:
        """Whoever connects in the cell's own network is the handler; on another it must show its token."""
        is_private = cell.platform.getsockname()[1] == PLATFORM_PORT
        token = self.heart.lease.token if is_private else None
        await doors.open(cell.platform, platform(self.machine.platform_url, token))
        for pair, door in cell.doors.items():
            await doors.open(door, leads_to(pair))

    async def _init(self, cell: Cell, api: RuntimeApi, masks: Masks) -> Verdict | None:
        """Wait until the code is loaded; the verdict when it is not going to be."""
        limit = max(INIT_AT_LEAST_S, self.invocation.limits.timeout_s)
        ready = await self._first(cell, api.ready(), limit, verdict.init_timed_out(limit))
        self.init_ms = self.watch.step("init")
        if isinstance(ready, Verdict):
            return ready
        if isinstance(ready, InitFailed):
            return verdict.failed(self.invocation, ready.payload, ready.type or "Runtime.Unknown", masks)
        return None

    async def _invoke(self, cell: Cell, api: RuntimeApi, named: Identity, masks: Masks) -> Verdict:
        """Give it the event; the time limit counts from here."""
        timeout = self.invocation.limits.timeout_s
        call = Call(
            request_id=self.invocation.run,
            deadline_ms=int((self.clock.now() + timedelta(seconds=timeout)).timestamp() * 1000),
            arn=named.arn,
            event=self.invocation.event,
        )
        answer = await self._first(cell, api.invoke(call), timeout, verdict.timed_out(self.invocation))
        self.wall_ms = self.watch.step("handler")
        if isinstance(answer, Verdict):
            return answer
        if isinstance(answer, Response):
            return verdict.returned(self.invocation, answer.payload, masks)
        return verdict.failed(self.invocation, answer.payload, answer.type or "Runtime.Unknown", masks)

    async def _first(
        self, cell: Cell, wanted: Coroutine[None, None, T], timeout: float, late: Verdict
    ) -> T | Verdict:
        """What comes first: the runtime's word, the end of its process, the time limit, a cancellation."""
        word = asyncio.ensure_future(wanted)
        gone = asyncio.ensure_future(cell.exited())
        waited: set[asyncio.Future[T] | asyncio.Future[Exit] | asyncio.Future[str]]
        waited = {word, gone, self.heart.stopped}
        try:
            await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
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
        """TERM, and a moment to tidy up; whatever is left then is killed when the run is settled."""
        await cell.terminate()
        await asyncio.wait({gone}, timeout=TERM_GRACE_S)

    def _exit_verdict(self, ended: Exit) -> Verdict:
        if ended.oom_killed:
            return verdict.out_of_memory(self.invocation)
        if ended.signal is not None:
            return verdict.exited(self.invocation, f"signal: {ended.signal_name}")
        return verdict.exited(self.invocation, f"exit status {ended.code}" if ended.code else "")

    async def _settled(self, cell: Cell, ended: Verdict) -> Verdict:
        """Kill what is left. An error that the memory limit caused is out of memory, whatever the runtime
        made of it; how its process ended is known for sure only now."""
        await cell.kill()
        if ended.state is RunState.FAILED and ended.error is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_WITHIN_S):
                    if (await cell.exited()).oom_killed:
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
        """END and REPORT as Lambda writes them, for what has had a START, and why it did not succeed."""
        if usage.init_ms is not None:
            self._report_usage(tail, usage, ended)
        if ended.state is not RunState.SUCCEEDED:
            level = Level.WARNING if ended.state is RunState.CANCELLED else Level.ERROR
            tail.platform(f"{ended.state.value.upper()} {ended.reason or ''}".rstrip(), level)

    def _report_usage(self, tail: Tail, usage: Usage, ended: Verdict) -> None:
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

    async def _upload(self, directory: int, tail: Tail) -> None:
        """Keep what the handler left in its output directory, whatever became of the run."""
        limit = self.invocation.limits.disk_mb * 2**20
        async with contextlib.aclosing(collect(directory, limit=limit)) as left:
            async for found in left:
                sentence = await self._keep(found) if isinstance(found, Output) else found
                if sentence:
                    tail.platform(f"WARNING {sentence}")
                    self.notices.append(sentence)

    async def _keep(self, output: Output) -> str | None:
        """Hand a file over; the sentence that says why it was not kept. A result is worth more than a file:
        it is recorded all the same."""
        try:
            await self.machine.link.keep_file(self.heart.lease, output.name, output.content())
        except Conflict:
            raise
        except LongshoreError as error:
            return f"the file {output.name!r} was not kept: {error.message}"
        return None


async def _kill(cell: Cell) -> None:
    await cell.kill()
