# SPDX-License-Identifier: Apache-2.0
"""Interceptors, the machines' agents, and what they have to give."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from longshore.domain.ids import InterceptorId
from longshore.domain.order import Room
from longshore.domain.task import Limits

ALIVE = timedelta(seconds=60)
"""An interceptor that was seen within this time counts as there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interceptor:
    """An agent as the control plane knows it. `id` is new with every start of the process; `name` a label."""

    id: InterceptorId
    name: str
    location: str
    cpu_cores: float
    memory_mb: int
    runtimes: tuple[str, ...]
    isolation: str
    version: str
    seen_at: datetime
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Arithmetic of what is free: never below zero, never above what the machine has."""

    total: Room
    taken: tuple[Room, ...] = field(default=())

    @property
    def free(self) -> Room:
        """What may still be claimed."""
        return Room(
            cpus=max(0.0, round(self.total.cpus - sum(room.cpus for room in self.taken), 3)),
            memory_mb=max(0, self.total.memory_mb - sum(room.memory_mb for room in self.taken)),
        )

    def take(self, room: Room) -> "Slots":
        """With that much less free; raises ValueError when it does not fit."""
        if room.cpus > self.free.cpus or room.memory_mb > self.free.memory_mb:
            raise ValueError(f"{room} does not fit into {self.free}")
        return replace(self, taken=(*self.taken, room))

    def give_back(self, room: Room) -> "Slots":
        """With that much free again; giving back what was not taken raises ValueError."""
        taken = list(self.taken)
        taken.remove(room)
        return replace(self, taken=tuple(taken))


def waits_for(limits: Limits, location: str, alive: Iterable[Interceptor]) -> str | None:
    """The sentence for a run that none of these interceptors can take; None when one of them can."""
    here = [one for one in alive if one.location == location]
    if not here:
        return f"no interceptor serves the location {location} now; the run waits for one"
    if any(limits.cpus <= one.cpu_cores and limits.memory_mb <= one.memory_mb for one in here):
        return None
    cores, memory = max(one.cpu_cores for one in here), max(one.memory_mb for one in here)
    return (
        f"the task asks for {limits.cpus:g} cores and {limits.memory_mb} MB, and the location {location} has"
        f" {cores:g} cores and {memory} MB at most in one place; the run waits for one that has more"
    )
