# SPDX-License-Identifier: Apache-2.0
"""One attempt at a run: where it finds its environment, what is said to it there, how it ends.

package ─▶ boot ─▶ init ─▶ handler ─▶ upload        in a fresh cell, or one that has booted ahead
           boot ──────────▶ handler ─▶ upload        in an environment that has served the task before
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from longshore.domain.errors import BadPackage, Conflict, LongshoreError, Unavailable
from longshore.domain.logs import LogLine
from longshore.domain.masking import Masks
from longshore.domain.order import Invocation
from longshore.domain.run import RunResult, RunState, Usage
from longshore.domain.runtime import runtime
from longshore.domain.task import Reuse
from longshore.domain.warm import WarmKey
from longshore.interceptor import report, verdict
from longshore.interceptor.environment import (
    arn_of,
    environment_of,
    identity,
    starting_environment,
    starts_alike,
)
from longshore.interceptor.heartbeat import Heartbeat
from longshore.interceptor.outputs import Output, collect
from longshore.interceptor.platform_door import PlatformDoor
from longshore.interceptor.tail import Tail
from longshore.interceptor.timeline import Watch
from longshore.interceptor.verdict import Verdict
from longshore.interceptor.warm import Environment
from longshore.ports.clock import Clock
from longshore.ports.sandbox import PLATFORM_PORT, Cell, Exit
from longshore.runtime_api.server import Call, InitFailed, Response, RuntimeApi

if TYPE_CHECKING:
    from longshore.interceptor.execute import Executor

INIT_AT_LEAST_S = 10.0
TERM_GRACE_S = 0.3
EXIT_WITHIN_S = 1.0
LOG_DRAIN_S = 2.0
LOG_CLOSE_S = 10.0
ASKS_WITHIN_S = 0.5
"""A runtime whose handler has answered by itself is still busy with it, and may not survive that."""
_log = structlog.get_logger()
T = TypeVar("T")


class Fate(Enum):
    """What becomes of a run's environment: it serves the next one as it is, with a runtime that starts anew,
    or it ends."""

    GOES_ON = auto()
    RESTARTS = auto()
    ENDS = auto()


@dataclass(slots=True)
class Attempt:
    """One attempt at a run, with what it has gathered so far."""

    machine: "Executor"
    heart: Heartbeat
    invocation: Invocation
    watch: Watch
    clock: Clock
    notices: list[str] = field(default_factory=list)
    cold: bool = True
    init_ms: float | None = None
    wall_ms: float | None = None
    started: "asyncio.Task[bool] | None" = None
    began: bool = False
    has_answered: bool = False
    fate: Fate = Fate.ENDS
    is_kept: bool = False

    async def result(self) -> RunResult:
        """Carry it out and say how it ended."""
        masks = Masks(self.invocation.masks)
        runtime_id, notice = self.machine.runtimes.stand_in(runtime(self.invocation.runtime))
        self.notices += [notice] if notice else []
        self.notices += ["a secret shorter than 4 characters is not masked in the log"] * bool(masks.unmasked)
        key = self.machine.environments.key(self.invocation, runtime_id)
        try:
            async with self.machine.environments.room(key):
                return await self._in_room(key, masks, runtime_id)
        finally:
            if self.started is not None:
                self.started.cancel()
                await asyncio.gather(self.started, return_exceptions=True)

    async def _in_room(self, key: WarmKey, masks: Masks, runtime_id: str) -> RunResult:
        try:
            environment = await self._warm(key) or await self._fresh(key, runtime_id)
        except BadPackage as error:
            return self._result(verdict.unfit(error.message), Usage())
        if environment is None:
            return self._result(verdict.cancelled(self.heart.stopped.result()), Usage())
        if not environment.platform.is_private:
            masks = Masks((*self.invocation.masks, environment.platform.word.reveal()))
        try:
            self.notices += (*environment.cell.notices, *await environment.platform.enter())
            return await self._in(environment, masks, runtime_id)
        finally:
            if not self.is_kept:
                await environment.end()

    async def _warm(self, key: WarmKey) -> Environment | None:
        """An environment that has served the same task before and can go on."""
        environments = self.machine.environments
        if self.invocation.reuse is Reuse.NEVER or not environments.has(key):
            return None
        inputs: Mapping[str, Path] | None = {}
        if self.invocation.inputs:
            inputs = await self._unless_stopped(self.machine.inputs(self.heart.lease, self.invocation))
        if inputs is None:
            return None
        self._start()
        while (environment := await environments.take(key)) is not None:
            try:
                await _resume(environment, inputs)
            except Unavailable as error:
                _log.info("environment given up", run=self.invocation.run, reason=error.message)
                await environment.end()
            except BaseException:
                await environment.end()
                raise
            else:
                self.cold = environment.is_cold
                self.watch.step("boot")
                return environment
        return None

    async def _fresh(self, key: WarmKey, runtime_id: str) -> Environment | None:
        """A sandbox with everything in it; None when the run was stopped before it stood."""
        spec = await self._unless_stopped(self.machine.spec(self.heart.lease, self.invocation, runtime_id))
        self.watch.step("package")
        if spec is None:
            return None
        early = self._early(runtime_id)
        if early is not None and self.machine.pool.has(spec.frame):
            self._start()
        cell = await self._unless_stopped(self.machine.pool.launch(spec, early), undo=_kill)
        self.watch.step("boot")
        if cell is None:
            return None
        is_private = cell.platform.getsockname()[1] == PLATFORM_PORT
        shared = None if is_private else self.machine.shared_door
        door = PlatformDoor(self.machine.platform_url, cell.platform, is_private, cell.user, shared)
        return Environment(cell, RuntimeApi(cell.runtime_api), key, door)

    def _early(self, runtime_id: str) -> Mapping[str, str] | None:
        """What the interpreter may start with before it is known for whom; None where it may not."""
        if self.machine.packages.brings_libraries(self.invocation.package):
            return None
        return starting_environment(runtime_id) if starts_alike(self.invocation.environment) else None

    def _start(self) -> None:
        """Have the run recorded as started while what it needs is brought here, which takes no time."""
        if self.started is None:
            self.started = asyncio.create_task(self.heart.started())

    async def _may_start(self) -> bool:
        """No code of the run's runs before its start is on record."""
        self._start()
        return self.started is not None and await self.started

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

    async def _in(self, environment: Environment, masks: Masks, runtime_id: str) -> RunResult:
        """From the first log line to the last."""
        cell = environment.cell
        tail = await environment.log(masks, self.clock.now)
        first_seq = await self._first_seq()
        tail.begin(
            run=self.invocation.run, attempt=self.invocation.attempt, first_seq=first_seq, sink=self._sink
        )
        try:
            ended = await self._handled(environment, tail, masks, runtime_id)
            output = os.dup(cell.output())
            try:
                ended, usage = await self._closing(environment, tail, ended, output)
            finally:
                os.close(output)
            if self.fate is not Fate.ENDS:
                await tail.flush(within=LOG_CLOSE_S)  # before somebody else's begins
            self._keep_warm(environment, usage)
        finally:
            if not self.is_kept:
                await environment.end()  # before the log: who is stopped must not run on while a log is slow
                await tail.close(within=0 if self.heart.lost else LOG_CLOSE_S)
        self.watch.step("upload")
        return self._result(ended, usage)

    async def _first_seq(self) -> int:
        """Before a first attempt nobody has written anything."""
        if self.invocation.attempt == 1:
            return 1
        return await self.heart.insist(partial(self.machine.link.next_seq, self.heart.lease))

    async def _closing(
        self, environment: Environment, tail: Tail, ended: Verdict, output: int
    ) -> tuple[Verdict, Usage]:
        """Output that is still on its way comes before END, and the memory limit has its say before anybody
        hears how the run ended. Files are collected while nobody can change them."""
        cell = environment.cell
        self.fate = self._fate(cell, ended)
        if self.fate is Fate.RESTARTS:
            await self._clear(cell)
        if self.fate is Fate.ENDS:
            ended = await self._settled(environment, ended)
            await tail.drain(LOG_DRAIN_S)
        else:
            tail.cut()
        usage = self._usage(cell)
        if self.began:
            report.used(tail, self.invocation, usage, ended)
        report.why(tail, ended)
        if not self.heart.lost and os.listdir(output):
            if self.fate is Fate.GOES_ON:
                await self._hold(cell)
            await self._upload(output, tail)
        return ended, usage

    def _fate(self, cell: Cell, ended: Verdict) -> Fate:
        if self.invocation.reuse is Reuse.NEVER or self.heart.stopped.done():
            return Fate.ENDS
        if ended.state is RunState.OUT_OF_MEMORY or cell.over_limit():
            return Fate.ENDS
        return Fate.GOES_ON if self.has_answered and not cell.has_strays() else Fate.RESTARTS

    async def _clear(self, cell: Cell) -> None:
        """End all that the run has left running, but not its cell; how much memory it took is known then."""
        try:
            await cell.clear()
        except Unavailable as error:
            _log.info("environment given up", run=self.invocation.run, reason=error.message)
            self.fate = Fate.ENDS
        if cell.over_limit():
            self.fate = Fate.ENDS

    async def _hold(self, cell: Cell) -> None:
        """Hold the cell still; kill it where that is not to be had."""
        try:
            await cell.hold()
        except Unavailable:
            self.fate = Fate.ENDS
            await cell.kill()

    def _keep_warm(self, environment: Environment, usage: Usage) -> None:
        if self.heart.stopped.done():
            return
        if self.fate is Fate.GOES_ON:
            memory_mb = (usage.peak_memory_mb or 0.0) + environment.cell.beside_mb
            self.is_kept = self.machine.environments.keep(environment, memory_mb)
        elif self.fate is Fate.RESTARTS:
            self.is_kept = self.machine.environments.restart(environment)

    def _result(self, ended: Verdict, usage: Usage) -> RunResult:
        return RunResult(
            state=ended.state,
            reason=ended.reason,
            payload=ended.payload,
            error=ended.error,
            usage=usage,
            cold=self.cold,
            steps=tuple(self.watch.steps),
            notices=tuple(self.notices),
        )

    async def _sink(self, lines: Sequence[LogLine]) -> None:
        await self.machine.link.log(self.heart.lease, lines)

    async def _handled(self, environment: Environment, tail: Tail, masks: Masks, runtime_id: str) -> Verdict:
        """Load the handler's code, then give it the event. From here on the run counts as started."""
        for sentence in (*self.invocation.notices, *self.notices):
            tail.platform(f"WARNING {sentence}")
        if not await self._may_start():
            return verdict.cancelled(self.heart.stopped.result())
        self.began = True
        report.began(tail, self.invocation)
        environment.platform.begin(self.heart.lease.token)
        try:
            return await self._served(environment, masks, runtime_id)
        finally:
            environment.platform.end()

    async def _served(self, environment: Environment, masks: Masks, runtime_id: str) -> Verdict:
        cell, api = environment.cell, environment.api
        if environment.is_cold:
            await environment.open()
            named = identity(self.invocation, self.clock.now())
            variables = environment_of(self.invocation, named, runtime_id, environment.platform.word)
            await cell.assign(variables, self.invocation.handler)
            failed = await self._init(cell, api, masks)
            if failed is not None:
                return failed
        return await self._invoke(cell, api, masks)

    async def _init(self, cell: Cell, api: RuntimeApi, masks: Masks) -> Verdict | None:
        """Wait until the code is loaded; the verdict when it is not going to be."""
        limit = max(INIT_AT_LEAST_S, self.invocation.limits.timeout_s)
        ready = await self._first(cell, api.first_word, limit, verdict.init_timed_out(limit))
        self.init_ms = self.watch.step("init")
        if isinstance(ready, Verdict):
            return ready
        if isinstance(ready, InitFailed):
            return verdict.failed(self.invocation, ready.payload, ready.type or "Runtime.Unknown", masks)
        return None

    async def _invoke(self, cell: Cell, api: RuntimeApi, masks: Masks) -> Verdict:
        """Give it the event; the time limit counts from here."""
        timeout = self.invocation.limits.timeout_s
        call = Call(
            request_id=self.invocation.run,
            deadline_ms=int((self.clock.now() + timedelta(seconds=timeout)).timestamp() * 1000),
            arn=arn_of(self.invocation),
            event=self.invocation.event,
        )
        try:
            answer = await self._first(cell, api.offer(call), timeout, verdict.timed_out(self.invocation))
        finally:
            api.withdraw()
        self.wall_ms = self.watch.step("handler")
        if isinstance(answer, Verdict):
            return answer
        self.has_answered = True
        if isinstance(answer, Response):
            return verdict.returned(self.invocation, answer.payload, masks)
        return verdict.failed(self.invocation, answer.payload, answer.type or "Runtime.Unknown", masks)

    async def _first(
        self, cell: Cell, word: "asyncio.Future[T]", timeout: float, late: Verdict
    ) -> T | Verdict:
        """What comes first: the runtime's word, the end of its process, the time limit, a cancellation."""
        gone = cell.exit
        waited: set[asyncio.Future[T] | asyncio.Future[Exit] | asyncio.Future[str]]
        waited = {word, gone, self.heart.stopped}
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if word.done():
            return word.result()
        if gone.done():
            return self._exit_verdict(gone.result())
        stopped = self.heart.stopped.done()
        await self._stop(cell, gone)
        return verdict.cancelled(self.heart.stopped.result()) if stopped else late

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

    async def _settled(self, environment: Environment, ended: Verdict) -> Verdict:
        """Kill what is left. An error that the memory limit caused is out of memory, whatever the runtime
        made of it; how its process ended is known for sure only now."""
        cell = environment.cell
        await environment.end()
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


async def _resume(environment: Environment, inputs: Mapping[str, Path]) -> None:
    await environment.cell.resume(inputs)
    if not (environment.is_cold or await environment.api.asks(within=ASKS_WITHIN_S)):
        raise Unavailable("its runtime does not ask for another event")


async def _kill(cell: Cell) -> None:
    await cell.kill()
