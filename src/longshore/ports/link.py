# SPDX-License-Identifier: Apache-2.0
"""The one door of an interceptor: all that it may ask the control plane.

In one process the dispatch service is handed over as it is; across machines a broker stands between.
Every write carries the lease's (run, attempt, fence) and is refused with Conflict when it is a late twin's.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from longshore.domain.fleet import Interceptor
from longshore.domain.ids import Digest
from longshore.domain.logs import LogLine
from longshore.domain.order import Cancelled, Invocation, Lease, Phase, Room
from longshore.domain.run import RunFile, RunResult


class Link(Protocol):
    """Register, claim, redeem, fetch, extend, log, file, finish."""

    async def register(self, me: Interceptor) -> None:
        """Say who is there and what it has; once at the start, then every few seconds as a sign of life."""
        ...

    async def claim(self, me: Interceptor, room: Room) -> Lease | None:
        """Wait some seconds for a queued run of my location that fits into the room; None when none came.

        The run is `starting` when this returns. A cancelled claim claims nothing, or the lease runs out.
        """
        ...

    async def redeem(self, lease: Lease) -> Invocation:
        """What to run, secrets included. May be asked again by the same holder until the run has started.

        Raises Invalid with the reason when it cannot be put together (an unknown secret): the run is
        `failed` then and the lease over.
        """
        ...

    def fetch(self, lease: Lease, digest: Digest) -> AsyncIterator[bytes]:
        """The bytes of the package or of an input of this run; NotFound for any other digest."""
        ...

    async def extend(self, lease: Lease, phase: Phase) -> Lease | Cancelled:
        """Heartbeat: the lease with more time, or the news that the run is over and must be stopped.

        The first one with USER_CODE makes the run `running`; it is recorded before this returns, so that a
        handler never runs for a run that still counts as not started.
        """
        ...

    async def next_seq(self, lease: Lease) -> int:
        """The number that this attempt's first log line takes."""
        ...

    async def log(self, lease: Lease, lines: Sequence[LogLine]) -> None:
        """Add lines to the run's log."""
        ...

    async def keep_file(self, lease: Lease, name: str, content: AsyncIterator[bytes]) -> RunFile:
        """Keep a file that the run left in its output directory."""
        ...

    async def finish(self, lease: Lease, result: RunResult) -> None:
        """The last word on this attempt. Saying it again is harmless; a late twin's is refused."""
        ...
