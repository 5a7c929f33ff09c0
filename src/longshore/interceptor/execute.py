# SPDX-License-Identifier: Apache-2.0
"""One run on this machine, from its lease to its last word.

redeem ─▶ package ─▶ boot ─▶ init ─▶ handler ─▶ upload ─▶ finish
   ╰──── a warm environment waits ─────▲            beside it: heartbeat, log tail, memory watch
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from longshore.domain.errors import Conflict, Invalid, LongshoreError
from longshore.domain.order import Invocation, Lease
from longshore.domain.run import RunResult, RunState
from longshore.domain.runtime import runtime
from longshore.interceptor.attempt import Attempt
from longshore.interceptor.heartbeat import Heartbeat, insist
from longshore.interceptor.packages import PackageCache
from longshore.interceptor.pool import Pool
from longshore.interceptor.runtimes import Runtimes
from longshore.interceptor.shared_door import SharedDoor
from longshore.interceptor.timeline import Watch
from longshore.interceptor.warm import Environments
from longshore.ports.clock import Clock
from longshore.ports.link import Link
from longshore.ports.sandbox import CellSpec

GIVE_UP_WITHIN_S = 10.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Executor:
    """Carries out leases with what this machine has."""

    link: Link
    pool: Pool
    environments: Environments
    runtimes: Runtimes
    packages: PackageCache
    clock: Clock
    platform_url: str
    shared_door: SharedDoor = field(default_factory=SharedDoor)

    async def carry_out(self, lease: Lease, leaves: Callable[[], None] = lambda: None) -> None:
        """Everything between a lease and its end; see agent.CarriesOut. Never raises: a run must not take the
        agent down."""
        try:
            await self._carry_out(lease, leaves)
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

    async def _carry_out(self, lease: Lease, leaves: Callable[[], None]) -> None:
        watch = Watch()
        async with Heartbeat(self.link, lease).kept() as heart:
            try:
                await self._attempt(heart, watch, leaves)
            except LongshoreError as error:
                if not heart.lost:
                    raise
                _log.info("lease lost", run=lease.run, reason=error.message)

    async def _attempt(self, heart: Heartbeat, watch: Watch, leaves: Callable[[], None]) -> None:
        """Redeem, carry out, and say how it ended; nobody is told when the lease is lost."""
        try:
            invocation = await heart.insist(partial(self.link.redeem, heart.lease))
        except Invalid:
            return  # recorded as failed by the control plane, with its reason
        watch.step("claimed")
        result = await Attempt(self, heart, invocation, watch, self.clock).result()
        leaves()
        if not heart.lost:
            await heart.insist(partial(self.link.finish, heart.lease, result))

    async def spec(self, lease: Lease, invocation: Invocation, runtime_id: str) -> CellSpec:
        """What the sandbox is to hold; prepares and fetches what is not here yet."""
        prepared = await self.runtimes.prepared(runtime_id)
        code = await self.packages.code(self.link, lease, invocation.package)
        await self.packages.must_fit(invocation.package, runtime(runtime_id).version)
        return CellSpec(
            runtime_root=prepared.root,
            python=prepared.python,
            runtime_dir=prepared.directory,
            package_dir=code,
            inputs=await self.inputs(lease, invocation),
            cpus=invocation.limits.cpus,
            memory_mb=invocation.limits.memory_mb,
            disk_mb=invocation.limits.disk_mb,
            pids=invocation.limits.pids,
            network=invocation.network,
        )

    async def inputs(self, lease: Lease, invocation: Invocation) -> Mapping[str, Path]:
        """The run's inputs, fetched."""
        return {
            name: await self.packages.input(self.link, lease, digest)
            for name, digest in invocation.inputs.items()
        }

    async def close(self) -> None:
        """End what waits for runs."""
        await self.environments.close()
        await self.pool.close()
