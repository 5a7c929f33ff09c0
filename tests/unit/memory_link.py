# SPDX-License-Identifier: Apache-2.0
"""A control plane in memory: queue, leases, logs, files, ends. What the interceptor's tests talk to."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from longshore.domain.errors import Conflict, Invalid, NotFound, Unavailable
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId
from longshore.domain.logs import LogLine
from longshore.domain.order import Cancelled, Invocation, Lease, Phase, Room
from longshore.domain.run import RunFile, RunResult
from longshore.domain.task import Limits, SuccessRule

CODE = Digest("c" * 64)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_invocation(run: str, **more: object) -> Invocation:
    """A run of app.handler with the event {}."""
    known: dict[str, object] = {
        "run": RunId(run),
        "attempt": 1,
        "project_id": ProjectId("p"),
        "project": "demo",
        "task": "task",
        "revision": 1,
        "runtime": "python3.11",
        "handler": "app.handler",
        "package": CODE,
        "event": b"{}",
        "limits": Limits(cpus=1, memory_mb=128, disk_mb=8, timeout_s=30),
        "success": SuccessRule.STATUS_CODE,
    }
    return Invocation(**{**known, **more})  # type: ignore[arg-type]


@dataclass
class MemoryLink:
    """Implements ports.link.Link for one location; `down` puts it out of reach."""

    down: bool = False
    claim_waits_s: float = 5.0
    seen: list[Interceptor] = field(default_factory=list)
    asked: list[Room] = field(default_factory=list)
    queued: list[Invocation] = field(default_factory=list)
    held: dict[RunId, tuple[Lease, Invocation]] = field(default_factory=dict)
    phases: dict[RunId, Phase] = field(default_factory=dict)
    cancelled: set[RunId] = field(default_factory=set)
    refused: set[RunId] = field(default_factory=set)
    lines: dict[RunId, list[LogLine]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    ends: dict[RunId, RunResult] = field(default_factory=dict)
    blobs: dict[Digest, asyncio.Event] = field(default_factory=dict)
    contents: dict[Digest, list[bytes]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def submit(self, invocation: Invocation) -> None:
        """Queue a run and ring."""
        async with self.changed:
            self.queued.append(invocation)
            self.changed.notify_all()

    async def end_of(self, run: str) -> RunResult:
        """Wait for the end of a run."""
        async with self.changed:
            await self.changed.wait_for(lambda: RunId(run) in self.ends)
        return self.ends[RunId(run)]

    def texts(self, run: str) -> list[str]:
        """The log of a run."""
        return [line.text for line in self.lines.get(RunId(run), [])]

    def lose(self, run: str) -> None:
        """Let somebody else have it."""
        del self.held[RunId(run)]

    def lease_out(self, invocation: Invocation) -> Lease:
        """Hand a run over."""
        lease = Lease(
            run=invocation.run,
            attempt=invocation.attempt,
            holder=InterceptorId("me"),
            fence=secrets.token_hex(8),
            until=NOW + timedelta(seconds=30),
            limits=invocation.limits,
        )
        self.held[invocation.run] = lease, invocation
        return lease

    def _reachable(self) -> None:
        if self.down:
            raise Unavailable("the control plane is out of reach")

    def _held(self, lease: Lease) -> Invocation:
        self._reachable()
        mine = self.held.get(lease.run)
        if mine is None or mine[0].fence != lease.fence:
            raise Conflict(f"the lease on run {lease.run} is over")
        return mine[1]

    async def register(self, me: Interceptor) -> None:
        self._reachable()
        self.seen.append(me)

    async def claim(self, me: Interceptor, room: Room) -> Lease | None:
        self._reachable()
        self.asked.append(room)

        def fitting() -> Invocation | None:
            fits = (
                one
                for one in self.queued
                if one.limits.cpus <= room.cpus and one.limits.memory_mb <= room.memory_mb
            )
            return next(fits, None)

        async with self.changed:
            try:
                async with asyncio.timeout(self.claim_waits_s):
                    await self.changed.wait_for(lambda: fitting() is not None)
            except TimeoutError:
                return None
            taken = fitting()
            assert taken is not None
            self.queued.remove(taken)
            return self.lease_out(taken)

    async def redeem(self, lease: Lease) -> Invocation:
        invocation = self._held(lease)
        if lease.run in self.refused:
            raise Invalid("there is no secret nope")
        return invocation

    async def fetch(self, lease: Lease, digest: Digest) -> AsyncIterator[bytes]:
        self._held(lease)
        if self.contents.get(digest):
            yield self.contents[digest].pop(0)
            return
        if digest not in self.blobs:
            raise NotFound(f"there is no {digest}")
        await self.blobs[digest].wait()
        yield b""

    async def extend(self, lease: Lease, phase: Phase) -> Lease | Cancelled:
        self._held(lease)
        if lease.run in self.cancelled:
            return Cancelled(reason="cancelled by somebody")
        self.phases[lease.run] = phase
        return replace(lease, until=NOW + timedelta(seconds=60))

    async def next_seq(self, lease: Lease) -> int:
        self._held(lease)
        return len(self.lines.get(lease.run, [])) + 1

    async def log(self, lease: Lease, lines: Sequence[LogLine]) -> None:
        self._held(lease)
        self.lines.setdefault(lease.run, []).extend(lines)

    async def keep_file(self, lease: Lease, name: str, content: AsyncIterator[bytes]) -> RunFile:
        self._held(lease)
        self.files[name] = b"".join([piece async for piece in content])
        size = len(self.files[name])
        return RunFile(bucket="runs", key=f"{lease.run}/{name}", name=name, size=size, digest=CODE)

    async def finish(self, lease: Lease, result: RunResult) -> None:
        self._held(lease)
        async with self.changed:
            self.ends[lease.run] = result
            self.changed.notify_all()
