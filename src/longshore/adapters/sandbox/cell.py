# SPDX-License-Identifier: Apache-2.0
"""A cell that lives: a launcher that is ready, and everything that has to end with it.

launcher (bwrap, its first process, the launcher)   ended by the first process's death, or the group's
control group, slot user, descriptors, directories  let go of when nobody is left
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import kin, leavings
from longshore.adapters.sandbox.cgroups import Group, Quota, kill_all
from longshore.adapters.sandbox.child import Child
from longshore.adapters.sandbox.control import Control, Ready
from longshore.adapters.sandbox.limits import quota
from longshore.adapters.sandbox.meter import Meter
from longshore.adapters.sandbox.sweeping import empty
from longshore.adapters.sandbox.watch import Watch
from longshore.adapters.sandbox.wires import Wires
from longshore.domain.errors import Unavailable
from longshore.domain.network import Address
from longshore.ports.sandbox import CellSpec, CellUsage, Exit

GRACE_S = 0.4
PATIENCE_S = 5.0
STILL_WITHIN_S = 0.5
CLEAR_WITHIN_S = 1.0
PREPARED_WITHIN_S = 30.0
_MB = 2**20


@dataclass(frozen=True, slots=True)
class First:
    """The first process of a pid namespace: when it dies, all die."""

    pid: int
    pidfd: int

    def kill(self) -> None:
        """SIGKILL; harmless when it is over."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """bwrap may end before it has waited for it; where we are a container's init it is then our child."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        os.close(self.pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a cell is made of. `first` is the first process in its pid namespace, if it has one;
    `own_processes` is how many there are while a handler has started none; `stragglers` finds processes that
    left the family, where that is possible; `dress` puts the real places of this cell into an environment;
    `furnish` brings a package and inputs into a cell that started without, `lay` exchanges the inputs;
    `ahead`: its launcher forks runtimes from itself; `quota` is what its group was made with; `is_current`
    says whether a network that was laid now would be the same; `let_go` runs when all is over."""

    child: Child
    control: Control
    group: Group
    quota: Quota
    user: int | None
    stdout: int
    stderr: int
    first: First | None
    own_processes: int
    ahead: bool
    furnish: Callable[[CellSpec], Awaitable[None]] | None
    lay: Callable[[Mapping[str, Path]], None]
    dress: Callable[[Mapping[str, str], Ready], Mapping[str, str]]
    stragglers: Callable[[], Sequence[int]]
    is_current: Callable[[], bool]
    let_go: Callable[[], None]
    wires: Wires


class LiveCell:
    """Implements the port's Cell."""

    def __init__(self, body: Body, ready: Ready, memory_limit: int, watch: Watch) -> None:
        self._body = body
        self._ready = ready
        self._watch = watch
        self._quota = body.quota
        self._meter = Meter(body.child.pid, body.group, memory_limit)
        self._oom = False
        self._assigned = False
        self._is_first = not body.ahead
        self._resting = self._stopped = self._is_tidy = self._is_clear = False
        self._has_inputs = True
        self._loop = asyncio.get_running_loop()
        self._exit = self._loop.create_task(self._wait_for_exit())
        self._killed: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether everything has been let go."""
        pasta = self._body.wires.pasta
        return self._killed is not None and self._killed.done() and (pasta is None or pasta.ended.done())

    async def gone(self) -> None:
        """Kill it and wait until everything has been let go."""
        await self.kill()
        await self._body.wires.gone()

    @property
    def runtime_api(self) -> socket.socket:
        """The door that the launcher has opened inside."""
        return self._ready.runtime_api

    @property
    def platform(self) -> socket.socket:
        """The second door that the launcher has opened inside."""
        return self._ready.platform

    @property
    def doors(self) -> Mapping[Address, socket.socket]:
        """Those that were laid for pairs that the cell does not reach by itself."""
        return self._body.wires.doors

    @property
    def notices(self) -> Sequence[str]:
        """What could not be laid."""
        return self._body.wires.notices

    @property
    def user(self) -> int | None:
        """Its slot's."""
        return self._body.user

    @property
    def beside_mb(self) -> float:
        """What pasta takes."""
        return self._body.wires.beside_mb

    @property
    def stdout(self) -> int:
        """Where the handler's standard output arrives."""
        return self._body.stdout

    @property
    def stderr(self) -> int:
        """Where the handler's standard error arrives."""
        return self._body.stderr

    async def prepared(self) -> None:
        """Wait until a runtime waits. What it takes until it is known for whom is nobody's."""
        is_prepared = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PREPARED_WITHIN_S):
                is_prepared = await self._body.control.prepared
        if not is_prepared:
            raise Unavailable("the sandbox's runtime did not start ahead of its task")

    async def furnish(self, spec: CellSpec) -> None:
        """Limits first: what a package brings must fit into them."""
        if self._assigned or self._killed is not None or self._body.furnish is None:
            raise Unavailable("only a sandbox that was prepared takes a package")
        self._check_network()
        try:
            self._quota = quota(spec)
            self._body.group.limit(self._quota)
            self._meter.limit = spec.memory_mb * _MB
            await self._body.furnish(spec)
        except OSError as error:
            raise Unavailable(f"the package could not be brought into its sandbox: {error}") from error

    async def assign(self, environment: Mapping[str, str], handler: str) -> None:
        """Hand in what makes this cell somebody's."""
        if self._assigned or self._killed is not None:
            raise Unavailable("this sandbox has had its handler; a run needs a fresh one")
        self._assigned = True
        self._meter.begin()
        self._watch.add(self)
        await self._body.control.start(self._body.dress(environment, self._ready), handler)

    @property
    def exit(self) -> "asyncio.Future[Exit]":
        """How the runtime's process ended, once it has."""
        return self._exit

    async def exited(self) -> Exit:
        """How the runtime's process ended."""
        return await asyncio.shield(self._exit)

    def over_limit(self) -> bool:
        """As the memory watch saw it, or the kernel."""
        return self._oom or self._body.group.oom_kills() > 0

    def has_strays(self) -> bool:
        """More than there were before there was a handler."""
        return len(self._meter.processes()) > self._body.own_processes

    async def hold(self) -> None:
        """Held by the kernel where there is a control group, else one by one."""
        if self._resting:
            return
        self._watch.discard(self)
        try:
            async with asyncio.timeout(STILL_WITHIN_S):
                await self._hold()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the sandbox could not be held still: {error}") from error
        if self._killed is not None or self._exit.done():
            raise Unavailable("the sandbox has ended")

    async def rest(self) -> None:
        """While nobody can interfere."""
        await self.hold()
        try:
            await empty(self._ready.output)
            self._is_tidy = True
        except OSError as error:
            raise Unavailable(f"the sandbox's output could not be removed: {error}") from error

    async def _hold(self) -> None:
        self._resting = True
        if self._body.group.freeze():
            while not self._body.group.is_frozen():  # noqa: ASYNC110  (the kernel rings no bell)
                await asyncio.sleep(0.001)
            return
        self._stopped = True
        if not kin.stop(self._body.child.pid):
            raise OSError("its processes multiply too fast")

    async def resume(self, inputs: Mapping[str, Path]) -> None:
        """What a handler has left is put away while it cannot interfere."""
        if self._killed is not None or self._exit.done() or self._is_clear:
            raise Unavailable("the sandbox has ended")
        self._check_network()
        try:
            if not self._is_tidy:
                await empty(self._ready.output)
            if inputs or self._has_inputs:
                self._body.lay(inputs)
        except OSError as error:
            raise Unavailable(f"the sandbox could not be made ready for another run: {error}") from error
        self._is_first = self._is_first and not self._assigned
        self._is_tidy = False
        self._has_inputs = bool(inputs)
        self._meter.begin_again()
        self._thaw()
        self._watch.add(self)

    def _check_network(self) -> None:
        if not (self._body.wires.is_whole and self._body.is_current()):
            raise Unavailable("the sandbox's network is not the one that the machine has now")

    def _thaw(self) -> None:
        if self._resting:
            self._resting = False
            self._body.group.thaw()
            if self._stopped:
                kin.signal_all(kin.descendants(self._body.child.pid)[1:], signal.SIGCONT)

    async def clear(self) -> None:
        """By the launcher: what it cannot kill, or what is there all the same, ends the cell."""
        if not self._assigned or self._killed is not None:
            raise Unavailable("the sandbox has ended")
        self._thaw()
        self._meter.measure()
        self._body.group.hurry()
        try:
            async with asyncio.timeout(CLEAR_WITHIN_S):
                is_clear = await self._body.control.end()
        except TimeoutError:
            is_clear = False
        if not is_clear or len(self._meter.processes()) >= self._body.own_processes:
            raise Unavailable("something in the sandbox could not be ended")
        await self._exit
        self._watch.discard(self)
        self._meter.measure()
        self._is_clear = True

    async def renew(self) -> None:
        """Nobody is inside: what the dead have left on their way out is nobody's."""
        if not self._is_clear or self._killed is not None:
            raise Unavailable("the sandbox has ended")
        try:
            for door in (self._ready.runtime_api, self._ready.platform, *self._body.wires.doors.values()):
                leavings.turn_away(door)
            leavings.drain(self._body.stdout)
            leavings.drain(self._body.stderr)
            self._body.group.limit(self._quota)
            await empty(self._ready.output)
            self._body.lay({})
        except OSError as error:
            raise Unavailable(f"the sandbox could not be made ready for another run: {error}") from error
        self._body.control.begin_anew()
        self._exit = self._loop.create_task(self._wait_for_exit())
        self._assigned = self._has_inputs = self._is_clear = False
        self._is_tidy, self._is_first = True, not self._body.ahead
        self._meter.begin_anew()
        if self._body.ahead:
            await self._body.control.prepare()
            await self.prepared()

    async def terminate(self) -> None:
        """By the launcher, which knows the runtime's process."""
        if self._assigned and not self._exit.done() and self._killed is None:
            await self._body.control.terminate()

    async def kill(self) -> None:
        """Whoever is cancelled while waiting leaves the killing to go on."""
        if self._killed is None:
            self._killed = self._loop.create_task(self._kill())
        await asyncio.shield(self._killed)

    def usage(self) -> CellUsage:
        """Measured now, or last."""
        if self._killed is None:
            self._meter.measure()
        return self._meter.usage

    def output(self) -> int:
        """Of a file system that lives as long as somebody holds it."""
        return self._ready.output

    def check(self) -> None:
        """The memory watch came by. Nobody survives too much of it: a half-killed handler helps no one."""
        if self._meter.over_limit() and not self._oom:
            self._oom = True
            self._meter.measure()
            self._end_processes()

    async def _wait_for_exit(self) -> Exit:
        report = await self._body.control.report
        if report is not None:
            if self._is_first:
                self._meter.seen(report.peak_bytes, report.cpu_ms)
            elif not self._meter.usage.peak_memory_mb:  # it has the most of all runs together
                self._meter.seen(report.peak_bytes)
            code = os.waitstatus_to_exitcode(report.status)
        else:
            code = (await self._body.child.ended).code
            code = 128 - code if code > 128 else code
        signal_ = -code if code < 0 else None
        return Exit(code=code if code >= 0 else None, signal=signal_, oom_killed=self.over_limit())

    async def _kill(self) -> None:
        self._watch.discard(self)
        try:
            self._end_processes()
            await self._until_nobody_is_left()
            await self._exit
        finally:
            self._body.wires.cut()
            self._let_go()

    def _end_processes(self) -> None:
        """The first process takes its namespace along, whatever the others are up to; outside bwrap's own
        process then ends by itself and is not left to strangers. Without one, all by name. Whoever is frozen
        dies when it thaws."""
        self._body.group.hurry()
        if self._body.first is not None:
            self._body.first.kill()
            self._body.group.thaw()
            return
        self._body.group.kill()
        for _ in range(20):
            others = [*self._below(), *self._body.stragglers()]
            kill_all(others)
            if not others:
                break
        self._body.child.kill()

    def _below(self) -> list[int]:
        """Our child's number is its own until we have waited for it."""
        return [] if self._body.child.ended.done() else kin.descendants(self._body.child.pid)[1:]

    async def _until_nobody_is_left(self) -> None:
        body = self._body
        await asyncio.wait({body.child.ended}, timeout=GRACE_S)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if body.child.ended.done() and not body.group.processes():
                self._meter.end(body.child.ended.result().cpu_ms)
                if body.group.remove():
                    break
            else:
                body.group.kill()
                body.child.kill()
            await asyncio.sleep(0.005)
        else:
            body.group.remove()  # in vain, but it lets go of the group's files
        body.control.close()

    def _let_go(self) -> None:
        self._body.control.close()
        self._ready.runtime_api.close()
        self._ready.platform.close()
        for number in (self._ready.output, self._body.stdout, self._body.stderr):
            os.close(number)
        if self._body.first is not None:
            self._body.first.close()
        pasta = self._body.wires.pasta
        if pasta is None:
            self._body.let_go()
        else:
            pasta.ended.add_done_callback(lambda _: self._body.let_go())
