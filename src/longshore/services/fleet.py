# SPDX-License-Identifier: Apache-2.0
"""Which interceptors there are, and what they can run."""

from collections.abc import Sequence
from dataclasses import dataclass

from longshore.domain.fleet import ALIVE, Interceptor
from longshore.domain.runtime import runtime
from longshore.ports.clock import Clock
from longshore.ports.store import Store


@dataclass(frozen=True, slots=True)
class FleetService:
    """Reads signs of life."""

    store: Store
    clock: Clock

    async def interceptors(self) -> Sequence[Interceptor]:
        """Those seen within the last minute."""
        since = self.clock.now() - ALIVE
        return await self.store.read(lambda work: work.fleet.all(since))

    async def runtimes(self) -> dict[str, list[str]]:
        """Runtime ids, oldest version first, each with the names of the interceptors that have it."""
        found: dict[str, list[str]] = {}
        for interceptor in await self.interceptors():
            for id_ in interceptor.runtimes:
                found.setdefault(id_, []).append(interceptor.name)
        return dict(sorted(found.items(), key=lambda item: runtime(item[0]).version))
