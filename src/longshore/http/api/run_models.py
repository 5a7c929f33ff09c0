# SPDX-License-Identifier: Apache-2.0
"""Runs as the wire shows them."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from longshore.domain import run as domain
from longshore.domain.parameters import type_json
from longshore.domain.run import RunState, TriggerKind
from longshore.http.api.models import Limits, Sent, Shown, Task
from longshore.http.strict_json import strict_json


class SubmitRun(Sent):
    """What a run is to work on: an event, and members to put into it. Neither: an empty object."""

    event: Any = None
    parameters: dict[str, Any] | None = None


class SubmitRuns(Sent):
    """One run for each of these events."""

    events: Annotated[list[Any], Field(min_length=1, max_length=10_000)]


class Queued(BaseModel):
    """The runs' ids, in the order of their events."""

    runs: list[str]


class Trigger(Shown):
    """What asked for a run, and who."""

    kind: TriggerKind
    by: str


class BriefError(Shown):
    """Why a handler failed, in Lambda's words."""

    type: str
    message: str


class RunError(BriefError):
    """The same with its trace."""

    trace: list[str]


class Usage(Shown):
    """What a run took: milliseconds, and MB of 2**20 bytes."""

    init_ms: float | None
    wall_ms: float | None
    cpu_ms: float | None
    peak_memory_mb: float | None


class Step(Shown):
    """One stretch of a run's timeline."""

    name: str
    ms: float


class RunFile(Shown):
    """A file that a run left."""

    bucket: str
    key: str
    name: str
    size: int
    digest: str


class BriefRun(BaseModel):
    """A run as lists show it."""

    id: str
    task: str
    task_id: str
    revision: int
    package: str
    location: str
    state: RunState
    reason: str | None
    attempt: int
    trigger: Trigger
    interceptor: str | None
    queued_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    result_truncated: bool
    error: BriefError | None
    usage: Usage
    cold: bool | None
    limits: Limits
    timeline: list[Step]
    artifacts: list[RunFile]
    notices: list[str]
    cancel_requested: bool

    @classmethod
    def of(cls, run: domain.Run) -> Self:
        """As this shape shows it."""
        return cls.model_validate(cls.members(run))

    @classmethod
    def members(cls, run: domain.Run) -> dict[str, object]:
        """The run by this shape's names."""
        return {
            "id": run.id,
            "task": run.task_name,
            "task_id": run.task_id,
            "revision": run.revision,
            "package": run.package,
            "location": run.location,
            "state": run.state,
            "reason": run.reason,
            "attempt": run.attempt,
            "trigger": run.trigger,
            "interceptor": run.holder_name,
            "queued_at": run.queued_at,
            "claimed_at": run.claimed_at,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "result_truncated": run.payload_digest is not None,
            "error": run.error,
            "usage": run.usage,
            "cold": run.cold,
            "limits": run.limits,
            "timeline": run.timeline,
            "artifacts": run.files,
            "notices": run.notices,
            "cancel_requested": run.cancel_requested,
        }


class Run(BriefRun):
    """A run. `event` is what was given, references not expanded; `result` is what the handler returned, as
    text where that is not strict JSON, and null with `result_truncated` where it is too large for here."""

    event: Any
    result: Any
    error: RunError | None

    @classmethod
    def members(cls, run: domain.Run) -> dict[str, object]:
        """With what lists leave out."""
        result = None if run.payload is None else value_or_text(run.payload)
        return {**super().members(run), "event": json.loads(run.event), "result": result}


class TaskWithLastRun(Task):
    """A task as the list of tasks shows it."""

    last_run: BriefRun | None


def value_or_text(text: str) -> type_json:
    """The JSON value of a text, or the text itself where it has none that everybody can read."""
    try:
        return strict_json(text)
    except ValueError:
        return text.encode("utf-8", "replace").decode()
