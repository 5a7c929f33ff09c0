# SPDX-License-Identifier: Apache-2.0
"""Runs that somebody waits for take the same road as all others, with fewer stops.

    ride ─▶ claimed ─▶ running ─▶ over: one row, one commit       when that is less than 20 ms after its claim
       ╰───────┴───────────┴────▶ written as it stands            later, or after 250 ms in line: from then
                                                                  on it is a run like any other

Until a ride is written nobody outside knows of it: its caller has no answer yet. Should the server be killed
before, the caller's connection breaks, and there is no run. Everything that happens to a ride happens in
the thread of the event loop, so that no step comes between two others.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from longshore.domain.errors import IllegalMove
from longshore.domain.events import RunChanged
from longshore.domain.fleet import ALIVE, Interceptor, waits_for
from longshore.domain.ids import Digest, RunId
from longshore.domain.logs import LogLine
from longshore.domain.order import Lease, Order, Room
from longshore.domain.project import Project
from longshore.domain.run import MOVES, Run, RunResult, RunState
from longshore.domain.task import Task
from longshore.ports.broker import Broker
from longshore.ports.clock import Clock
from longshore.ports.logbook import Logbook
from longshore.ports.notifier import Notifier
from longshore.ports.store import Store, Work

LEASE = timedelta(seconds=30)
WRITTEN_AFTER_S = 0.02
WAITS_IN_LINE_S = 0.25
"""More callers than slots are a line that moves by itself; as rows each would cost four times as much."""
SHORT_LOG, LINE_COSTS = 4096, 64
"""Characters of a log that is recorded with its run's end, and what each line counts besides its text."""
FLEET_HOLDS_S = 1.0
LOOK_AGAIN_S = 1.0
"""A location without news is looked up in the table all the same: a bell may be lost."""


@dataclass(slots=True, eq=False, repr=False)
class Ride:
    """A run on its way that has no row yet. `answer` is the run once it is over; None when it has a row
    before that."""

    run: Run
    task: Task
    project: Project
    sealed: Mapping[str, bytes]
    answer: "asyncio.Future[Run | None]"
    lease: Lease | None = None
    holder_name: str | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    timer: asyncio.TimerHandle | None = None
    lines: list[LogLine] = field(default_factory=list)
    log_size: int = 0

    @property
    def state(self) -> RunState:
        """Where the run is."""
        if self.lease is None:
            return RunState.QUEUED
        return RunState.STARTING if self.started_at is None else RunState.RUNNING

    def as_it_stands(self) -> Run:
        """The run as its row would have it."""
        if self.lease is None:
            return self.run
        return replace(
            self.run,
            state=self.state,
            holder=self.lease.holder,
            holder_name=self.holder_name,
            fence=self.lease.fence,
            lease_until=self.lease.until,
            claimed_at=self.claimed_at,
            started_at=self.started_at,
        )


@dataclass(slots=True, eq=False)
class _Parked:
    """A claim that waits."""

    me: Interceptor
    room: Room
    found: "asyncio.Future[Lease | None]"

    def is_free(self) -> bool:
        """Whether it waits still."""
        return not self.found.done()


@dataclass(slots=True)
class _Place:
    """What is known here of one location: the rides in line, the claims that wait, and the table's queue."""

    line: dict[RunId, Ride] = field(default_factory=dict)
    parked: list[_Parked] = field(default_factory=list)
    bell: "asyncio.Task[bool] | None" = None
    has_news: bool = True
    looked_at: float = 0.0
    rode_last: bool = False


@dataclass(slots=True)
class Express:
    """The rides of this process, and the claims that wait for one."""

    store: Store
    logbook: Logbook
    broker: Broker
    notifier: Notifier
    clock: Clock
    _rides: dict[RunId, Ride] = field(default_factory=dict)
    _writing: "dict[RunId, asyncio.Task[None]]" = field(default_factory=dict)
    _places: dict[str, _Place] = field(default_factory=dict)
    _alive: Sequence[Interceptor] = ()
    _alive_until: float = 0.0

    def _place(self, location: str) -> _Place:
        place = self._places.get(location)
        if place is None:
            place = self._places[location] = _Place()
        return place

    # --- whoever wants a run --------------------------------------------------------------------------

    def begin(self, run: Run, task: Task, project: Project, sealed: Mapping[str, bytes]) -> Ride:
        """Send a queued run on its way: to a claim that waits, else into the line."""
        loop = asyncio.get_running_loop()
        ride = Ride(run, task, project, sealed, loop.create_future())
        ride.answer.add_done_callback(_heard)
        self._rides[run.id] = ride
        if not self._board(ride):
            ride.timer = loop.call_later(WAITS_IN_LINE_S, self.write, run.id)
        return ride

    def _board(self, ride: Ride) -> bool:
        """Give it to a claim that waits; False when it is in line now."""
        place = self._place(ride.run.location)
        for parked in place.parked:
            if parked.is_free() and _fits(ride, parked.room):
                parked.found.set_result(self._given(ride, parked.me))
                return True
        place.line[ride.run.id] = ride
        return False

    # --- whoever has room -----------------------------------------------------------------------------

    def take(self, me: Interceptor, room: Room) -> Lease | None:
        """The ride that has waited longest and fits. When the table may have a queue it is None every other
        time: neither waits for the end of the other's line."""
        place = self._place(me.location)
        if not place.line or (place.rode_last and place.has_news):
            place.rode_last = False
            return None
        ride = next((one for one in place.line.values() if _fits(one, room)), None)
        if ride is None:
            return None
        place.rode_last = True
        del place.line[ride.run.id]
        return self._given(ride, me)

    def should_look(self, location: str) -> bool:
        """Whether the table may have a queued run: the bell has rung, or nobody has looked for a while."""
        place = self._place(location)
        return place.has_news or time.monotonic() - place.looked_at > LOOK_AGAIN_S

    def looking(self, location: str) -> None:
        """Somebody is about to look. A bell that rings from now on is news again."""
        place = self._place(location)
        place.has_news = False
        place.looked_at = time.monotonic()

    def looked(self, location: str, found: bool) -> None:
        """Where there was one there may be more."""
        if found:
            self._place(location).has_news = True

    async def wait(self, me: Interceptor, room: Room, seconds: float) -> Lease | None:
        """A ride that comes; None when the table is to be looked at, after so many seconds at the latest."""
        place = self._place(me.location)
        parked = _Parked(me, room, asyncio.get_running_loop().create_future())
        place.parked.append(parked)
        if place.bell is None:
            place.bell = asyncio.ensure_future(self.broker.wait(me.location, seconds))
            place.bell.add_done_callback(lambda _: self._rung(place))
        try:
            return await parked.found
        except asyncio.CancelledError:
            if not parked.found.cancelled() and (lease := parked.found.result()) is not None:
                self._take_back(lease)
            raise
        finally:
            place.parked.remove(parked)

    def _rung(self, place: _Place) -> None:
        place.bell = None
        place.has_news = True
        for parked in place.parked:
            if parked.is_free():
                parked.found.set_result(None)

    def _given(self, ride: Ride, me: Interceptor) -> Lease:
        if ride.timer is not None:
            ride.timer.cancel()
        ride.timer = asyncio.get_running_loop().call_later(WRITTEN_AFTER_S, self.write, ride.run.id)
        ride.claimed_at = self.clock.now()
        ride.holder_name = me.name
        ride.lease = Lease(
            run=ride.run.id,
            attempt=ride.run.attempt,
            holder=me.id,
            fence=secrets.token_hex(16),
            until=ride.claimed_at + LEASE,
            limits=ride.run.limits,
        )
        return ride.lease

    def _take_back(self, lease: Lease) -> None:
        """Whoever was given it has gone before it heard of it."""
        ride = self.held(lease)
        if ride is not None:
            ride.lease = ride.claimed_at = ride.holder_name = None
            self._board(ride)

    # --- whoever holds one ----------------------------------------------------------------------------

    def held(self, lease: Lease) -> Ride | None:
        """The ride of a lease, while it has no row."""
        ride = self._rides.get(lease.run)
        return (
            ride if ride is not None and ride.lease is not None and ride.lease.fence == lease.fence else None
        )

    def started(self, ride: Ride) -> None:
        """Its code is about to load."""
        if ride.started_at is None:
            ride.started_at = self.clock.now()

    def logged(self, ride: Ride, lines: Sequence[LogLine]) -> bool:
        """Keep lines with the ride, to be recorded with its end. False for more than fits: it is written now,
        and its log goes where long ones go."""
        ride.log_size += sum(len(line.text) for line in lines) + LINE_COSTS * len(lines)
        if ride.log_size > SHORT_LOG:
            self.write(ride.run.id)
            return False
        ride.lines += lines
        return True

    async def end(
        self, ride: Ride, result: RunResult, *, payload: str | None, payload_digest: Digest | None
    ) -> Run:
        """Record a ride that is over, once and for all."""
        run, lease = ride.run, ride.lease
        if lease is None or result.state not in MOVES[ride.state]:
            raise IllegalMove(f"run {run.id} is {ride.state}; it cannot become {result.state}")
        ended = replace(
            run,
            state=result.state,
            reason=result.reason,
            holder=lease.holder,
            holder_name=ride.holder_name,
            fence=lease.fence,
            claimed_at=ride.claimed_at,
            started_at=ride.started_at,
            ended_at=self.clock.now(),
            payload=payload,
            payload_digest=payload_digest,
            error=result.error,
            usage=result.usage,
            cold=result.cold,
            steps=result.steps,
            notices=(*run.notices, *result.notices),
        )
        self._leave(ride)

        def change(work: Work) -> None:
            work.runs.add(ended)
            if ride.lines:
                work.short_logs.add(ended.id, ride.lines)

        try:
            await self.store.write(change)
        except BaseException:
            self._rides[run.id] = ride  # whoever has its result says it again, or it is written as it stands
            ride.timer = asyncio.get_running_loop().call_later(WRITTEN_AFTER_S, self.write, run.id)
            raise
        if not ride.answer.done():
            ride.answer.set_result(ended)
        return ended

    # --- rows -----------------------------------------------------------------------------------------

    async def alive(self) -> Sequence[Interceptor]:
        """The interceptors that take runs, as of this second."""
        now = time.monotonic()
        if now > self._alive_until:
            since = self.clock.now() - ALIVE
            found = await self.store.read(lambda work: work.fleet.all(since))
            self._alive = [one for one in found if not one.draining]
            self._alive_until = now + FLEET_HOLDS_S
        return self._alive

    def seen(self) -> None:
        """The fleet has changed."""
        self._alive_until = 0.0

    async def settled(self, run: RunId) -> None:
        """See to it that a run has its row, if it is one of ours. Who asks for a run by its id calls this."""
        if run in self._rides:
            self.write(run)
        if run in self._writing:
            await asyncio.shield(self._writing[run])

    def write(self, run: RunId) -> None:
        """Begin to write a ride as it stands. It is a run like any other from now on."""
        ride = self._rides.get(run)
        if ride is None:
            return
        self._leave(ride)
        self._writing[run] = asyncio.get_running_loop().create_task(self._written(ride))

    def _leave(self, ride: Ride) -> None:
        del self._rides[ride.run.id]
        self._place(ride.run.location).line.pop(ride.run.id, None)
        if ride.timer is not None:
            ride.timer.cancel()

    async def _written(self, ride: Ride) -> None:
        run = ride.as_it_stands()
        try:
            await self.logbook.write(run.id, ride.lines)
            row = with_wait(run, await self.alive()) if run.state is RunState.QUEUED else run
            await self.store.write(lambda work: work.runs.add(row))
        except Exception as error:  # noqa: BLE001  (it is raised to whoever waits for the run)
            if not ride.answer.done():
                ride.answer.set_exception(error)
            return
        finally:
            del self._writing[run.id]
        self.notifier.notify(RunChanged(run=row))
        if row.state is RunState.QUEUED:
            await self.broker.publish(Order(run=row.id, attempt=row.attempt, location=row.location))
        if not ride.answer.done():
            ride.answer.set_result(None)


def with_wait(run: Run, alive: Sequence[Interceptor]) -> Run:
    """A queued run, with a word about what it waits for where no interceptor can take it now."""
    waits = waits_for(run.limits, run.location, alive)
    return run if waits is None else replace(run, notices=(*run.notices, waits))


def _fits(ride: Ride, room: Room) -> bool:
    limits = ride.run.limits
    return limits.cpus <= room.cpus and limits.memory_mb <= room.memory_mb


def _heard(answer: "asyncio.Future[Run | None]") -> None:
    """Nobody may be there any more to hear of an error."""
    if not answer.cancelled():
        answer.exception()
