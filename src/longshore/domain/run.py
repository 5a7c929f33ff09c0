# SPDX-License-Identifier: Apache-2.0
"""A run: one invocation of a task, from being asked for to its last word.

    queued ─▶ starting ─▶ running ─▶ succeeded │ failed │ timed_out │ out_of_memory
      ▲           │           │
      └───────────┴───────────┴── the interceptor was lost: queued again, or lost when policy says so

Any state that is not final may move to cancelled. A queued run that nobody took in time is expired.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from longshore.domain.errors import IllegalMove
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId
from longshore.domain.task import Limits


class RunState(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    LOST = "lost"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Nothing follows."""
        return not MOVES[self]


_S = RunState
MOVES: Mapping[RunState, frozenset[RunState]] = {
    _S.QUEUED: frozenset({_S.STARTING, _S.CANCELLED, _S.FAILED, _S.EXPIRED}),
    _S.STARTING: frozenset(
        {_S.RUNNING, _S.FAILED, _S.TIMED_OUT, _S.OUT_OF_MEMORY, _S.QUEUED, _S.LOST, _S.CANCELLED}
    ),
    _S.RUNNING: frozenset(
        {_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.OUT_OF_MEMORY, _S.QUEUED, _S.LOST, _S.CANCELLED}
    ),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.TIMED_OUT: frozenset(),
    _S.OUT_OF_MEMORY: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.LOST: frozenset(),
    _S.EXPIRED: frozenset(),
}


class TriggerKind(StrEnum):
    """What asked for a run."""

    API = "api"
    UI = "ui"
    CLI = "cli"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    CHAIN = "chain"
    REPORT = "report"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What asked for a run, and who: a token's name."""

    kind: TriggerKind
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a handler failed, in Lambda's words. All texts are masked."""

    type: str
    message: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run took. Times in milliseconds by a monotonic clock, memory in MB (2**20 bytes)."""

    init_ms: float | None = None
    wall_ms: float | None = None
    cpu_ms: float | None = None
    peak_memory_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stretch of a run's timeline: queued, claimed, package, boot, init, handler, upload."""

    name: str
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that a run left: an object of bucket `runs` with the key `<run id>/<name>`."""

    bucket: str
    key: str
    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """An interceptor's last word on a run. Payload and texts are masked before they get here.

    `payload` is what the handler returned, JSON text; None where it returned nothing because it failed.
    """

    state: RunState
    reason: str | None = None
    payload: str | None = None
    error: RunError | None = None
    usage: Usage = Usage()
    cold: bool = True
    steps: tuple[Step, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of the truth. `event` is JSON text and holds references, never a secret's value.

    `expand` says whether references in what the caller gave are expanded too (only for callers who may
    edit the task); `defaulted` names the event's members that came from the task's defaults and always are.
    """

    id: RunId
    project_id: ProjectId
    task_id: TaskId
    task_name: str
    revision: int
    package: Digest
    location: str
    limits: Limits
    trigger: Trigger
    event: str
    expand: bool
    defaulted: tuple[str, ...] = ()
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    state: RunState = RunState.QUEUED
    reason: str | None = None
    attempt: int = 1
    fence: str | None = None
    holder: InterceptorId | None = None
    holder_name: str | None = None
    lease_until: datetime | None = None
    cancel_requested: bool = False
    queued_at: datetime
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    payload: str | None = None
    payload_digest: Digest | None = None
    error: RunError | None = None
    usage: Usage = Usage()
    cold: bool | None = None
    steps: tuple[Step, ...] = ()
    files: tuple[RunFile, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def timeline(self) -> tuple[Step, ...]:
        """Where the time went: waiting in the queue (the control plane's clock), then the holder's steps."""
        if self.claimed_at is None:
            return self.steps
        waited = (self.claimed_at - self.queued_at) / timedelta(milliseconds=1)
        return (Step(name="queued", ms=max(0.0, waited)), *self.steps)

    def moved(self, to: RunState, at: datetime, *, reason: str | None = None) -> "Run":
        """The same run, one legal step later. Going back to queued begins a new attempt."""
        if to not in MOVES[self.state]:
            raise IllegalMove(f"run {self.id} is {self.state}; it cannot become {to}")
        if to is RunState.QUEUED:
            return replace(
                self,
                state=to,
                reason=reason,
                attempt=self.attempt + 1,
                fence=None,
                holder=None,
                holder_name=None,
                lease_until=None,
                claimed_at=None,
                started_at=None,
            )
        started = at if to is RunState.RUNNING else self.started_at
        ended = at if to.is_final else None
        lease = None if to.is_final else self.lease_until
        return replace(self, state=to, reason=reason, started_at=started, ended_at=ended, lease_until=lease)
