# SPDX-License-Identifier: Apache-2.0
"""The run table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from longshore.adapters.sql.codec import (
    Json,
    Row,
    maybe_micros,
    maybe_time_of,
    maybe_whole,
    micros,
    time_of,
    whole,
)
from longshore.adapters.sql.schema import run_objects, runs
from longshore.adapters.sql.statements import Prepared, first, one, put, rows
from longshore.domain.errors import Conflict, NotFound, Unavailable
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId
from longshore.domain.order import Room
from longshore.domain.run import Run, RunError, RunFile, RunState, Step, Trigger, TriggerKind, Usage
from longshore.domain.task import Limits
from longshore.ports.store import Page, RunFilter

IS_SHORT_OF_ROOM = "longshore_is_short_of_room"
"""Set on a connection while what is under way needs the last room on the disk."""
_LIMITS: Json[Limits] = Json(Limits)
_WORDS: Json[tuple[str, ...]] = Json(tuple[str, ...])
_INPUTS: Json[Mapping[str, Digest]] = Json(dict[str, Digest])
_ERROR: Json[RunError] = Json(RunError)
_USAGE: Json[Usage] = Json(Usage)
_STEPS: Json[tuple[Step, ...]] = Json(tuple[Step, ...])
_FILES: Json[tuple[RunFile, ...]] = Json(tuple[RunFile, ...])
# Literals, not parameters: SQLite takes a partial index only where it can see that its condition holds.
_IS_QUEUED = runs.c.state == literal_column("'queued'")
_IS_HELD = runs.c.state.in_([literal_column("'starting'"), literal_column("'running'")])
_OPEN = [state.value for state in RunState if not state.is_final]

_OLDEST = (
    select(runs.c.id)
    .where(
        _IS_QUEUED,
        runs.c.location == bindparam("wanted_location"),
        runs.c.cpus <= bindparam("wanted_cpus"),
        runs.c.memory_mb <= bindparam("wanted_memory_mb"),
    )
    .order_by(runs.c.id)
    .limit(1)
    .scalar_subquery()
)
_CLAIM = Prepared(
    update(runs)
    .where(runs.c.id == _OLDEST, _IS_QUEUED)
    .values(
        state=RunState.STARTING.value,
        holder=bindparam("new_holder"),
        holder_name=bindparam("new_holder_name"),
        fence=bindparam("new_fence"),
        claimed_at=bindparam("new_claimed_at"),
        lease_until=bindparam("new_lease_until"),
    )
    .returning(*runs.c)
)

# The statements of the hot path are built once: what SQLAlchemy costs is the building, not the running.
_BY_ID = Prepared(select(runs).where(runs.c.id == bindparam("wanted_id")))
_NEWEST = (
    select(runs)
    .where(runs.c.task_id == bindparam("task"), runs.c.project_id == bindparam("project"))
    .order_by(runs.c.id.desc())
    .limit(1)
)
_CHANGES = (
    "state",
    "reason",
    "attempt",
    "fence",
    "holder",
    "holder_name",
    "lease_until",
    "cancel_requested",
    "claimed_at",
    "started_at",
    "ended_at",
    "payload",
    "payload_digest",
    "error",
    "usage",
    "cold",
    "steps",
    "notices",
)
"""The columns that a run's life changes; the others say what was asked for and never do."""
_ADD = Prepared(insert(runs), [column.name for column in runs.columns])
_SAVE = Prepared(
    update(runs)
    .where(
        runs.c.id == bindparam("wanted_id"),
        runs.c.state == bindparam("wanted_state"),
        runs.c.attempt == bindparam("wanted_attempt"),
        runs.c.fence.is_not_distinct_from(bindparam("wanted_fence")),
    )
    .values({name: bindparam(f"new_{name}") for name in _CHANGES})
    # Whoever saves may have read the run before its cancellation was asked for; the wish stays.
    .values(cancel_requested=or_(runs.c.cancel_requested, bindparam("new_cancel_requested")))
)
_START = Prepared(
    update(runs)
    .where(
        runs.c.id == bindparam("wanted_id"),
        runs.c.attempt == bindparam("wanted_attempt"),
        runs.c.fence == bindparam("wanted_fence"),
        runs.c.state == RunState.STARTING.value,
        runs.c.cancel_requested.is_(False),
    )
    .values(
        state=RunState.RUNNING.value,
        started_at=bindparam("new_started_at"),
        lease_until=bindparam("new_lease_until"),
    )
)
_EXTEND = Prepared(
    update(runs)
    .where(
        runs.c.id == bindparam("wanted_id"),
        runs.c.attempt == bindparam("wanted_attempt"),
        runs.c.fence == bindparam("wanted_fence"),
        _IS_HELD,
    )
    .values(lease_until=bindparam("new_lease_until"))
    .returning(runs.c.cancel_requested)
)


@dataclass(frozen=True, slots=True)
class SqlRuns:
    """See ports.store.Runs."""

    connection: Connection

    def add(self, run: Run) -> None:
        if run.state is RunState.QUEUED and self.connection.info.get(IS_SHORT_OF_ROOM, False):
            raise Unavailable("the disk is full: there are no new runs until somebody makes room on it")
        _ADD.run(self.connection, {**_asked(run), **_changes(run)})
        for digest in {*run.inputs.values(), *(file.digest for file in run.files)}:
            self._point_at(run.id, digest)

    def _point_at(self, run: RunId, digest: Digest) -> None:
        put(self.connection, run_objects, {"run_id": run, "digest": digest}, {})

    def get(self, project: ProjectId | None, run: RunId) -> Run:
        missing = f"there is no run {run[:64]} here"
        row = _BY_ID.first(self.connection, wanted_id=run)
        if row is None or project not in (None, row["project_id"]):
            raise NotFound(missing)
        return _run(row)

    def page(self, project: ProjectId, page: Page, wanted: RunFilter) -> Sequence[Run]:
        ids = select(runs.c.id).where(runs.c.project_id == project)
        if wanted.task_id is not None:
            ids = ids.where(runs.c.task_id == wanted.task_id)
        if page.after is not None:
            ids = ids.where(runs.c.id < page.after)
        ids = ids.order_by(runs.c.id.desc()).limit(page.limit)
        query = select(runs).where(runs.c.id.in_(_in_states(ids, wanted.states) if wanted.states else ids))
        query = query.order_by(runs.c.id.desc()).limit(page.limit)
        return [_run(row) for row in rows(self.connection, query)]

    def latest(self, project: ProjectId, tasks: Sequence[TaskId]) -> Sequence[Run]:
        """A look into the index for each task: one query for all would read every run they ever had."""
        found = (first(self.connection, _NEWEST, task=task, project=project) for task in dict.fromkeys(tasks))
        return [_run(row) for row in found if row is not None]

    def claim(
        self,
        location: str,
        room: Room,
        *,
        holder: InterceptorId,
        holder_name: str,
        fence: str,
        at: datetime,
        until: datetime,
    ) -> Run | None:
        values = {
            "wanted_location": location,
            "wanted_cpus": room.cpus,
            "wanted_memory_mb": room.memory_mb,
            "new_holder": holder,
            "new_holder_name": holder_name,
            "new_fence": fence,
            "new_claimed_at": micros(at),
            "new_lease_until": micros(until),
        }
        row = _CLAIM.first(self.connection, **values)
        return None if row is None else _run(row)

    def save(self, run: Run, *, expecting: RunState, attempt: int, fence: str | None) -> None:
        values = {
            "wanted_id": run.id,
            "wanted_state": expecting.value,
            "wanted_attempt": attempt,
            "wanted_fence": fence,
            **{f"new_{name}": value for name, value in _changes(run).items()},
        }
        if _SAVE.run(self.connection, values).rowcount == 0:
            raise Conflict(f"run {run.id} is not {expecting} in attempt {attempt} any more")

    def extend(self, run: RunId, *, attempt: int, fence: str, until: datetime) -> bool:
        values = {
            "wanted_id": run,
            "wanted_attempt": attempt,
            "wanted_fence": fence,
            "new_lease_until": micros(until),
        }
        asked = _EXTEND.first(self.connection, **values)
        if asked is None:
            raise Conflict(f"the lease on attempt {attempt} of run {run} is over")
        return not asked["cancel_requested"]

    def start(
        self, run: RunId, *, attempt: int, fence: str, at: datetime, until: datetime
    ) -> tuple[bool, bool]:
        values = {
            "wanted_id": run,
            "wanted_attempt": attempt,
            "wanted_fence": fence,
            "new_lease_until": micros(until),
            "new_started_at": micros(at),
        }
        if _START.run(self.connection, values).rowcount:
            return True, True
        return self.extend(run, attempt=attempt, fence=fence, until=until), False

    def ask_to_cancel(self, run: RunId, reason: str) -> None:
        asked = update(runs).where(runs.c.id == run, _IS_HELD)
        self.connection.execute(asked.values(cancel_requested=True, reason=reason))

    def add_file(self, run: RunId, file: RunFile) -> None:
        query = select(runs.c.files).where(runs.c.id == run)
        known = _FILES.value(one(self.connection, query, f"there is no run {run[:64]} here")["files"])
        files = (*(kept for kept in known if kept.key != file.key), file)
        self.connection.execute(update(runs).where(runs.c.id == run).values(files=_FILES.text(files)))
        self._point_at(run, file.digest)

    def queued_locations(self) -> Sequence[tuple[str, int]]:
        query = (
            select(runs.c.location, func.count())
            .where(_IS_QUEUED)
            .group_by(runs.c.location)
            .order_by(runs.c.location)
        )
        return [(location, int(count)) for location, count in self.connection.execute(query)]

    def queued_before(self, at: datetime, limit: int = 100) -> Sequence[Run]:
        query = select(runs).where(_IS_QUEUED, runs.c.queued_at < micros(at)).order_by(runs.c.id).limit(limit)
        return [_run(row) for row in rows(self.connection, query)]

    def overdue(self, at: datetime, limit: int = 100) -> Sequence[Run]:
        query = (
            select(runs)
            .where(_IS_HELD, runs.c.lease_until < micros(at))
            .order_by(runs.c.lease_until)
            .limit(limit)
        )
        return [_run(row) for row in rows(self.connection, query)]

    def held_by_others(self, alive: Sequence[InterceptorId], limit: int = 1000) -> Sequence[Run]:
        query = select(runs).where(_IS_HELD)
        if alive:
            query = query.where(runs.c.holder.not_in(alive))
        query = query.order_by(runs.c.lease_until, runs.c.id).limit(limit)
        return [_run(row) for row in rows(self.connection, query)]

    def counts(self, project: ProjectId) -> dict[RunState, int]:
        query = (
            select(runs.c.state, func.count())
            .where(runs.c.project_id == project, runs.c.state.in_(_OPEN))
            .group_by(runs.c.state)
        )
        return {RunState(state): int(count) for state, count in self.connection.execute(query)}


def _in_states(ids: Select[tuple[str]], states: Sequence[RunState]) -> Select[tuple[str]]:
    """The newest of each state: so each is a range of an index, and a rare state costs as little as none."""
    each = [ids.where(runs.c.state == state.value).subquery() for state in dict.fromkeys(states)]
    return select(union_all(*(select(one_of.c.id) for one_of in each)).subquery().c.id)


def _asked(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "project_id": run.project_id,
        "task_id": run.task_id,
        "task_name": run.task_name,
        "revision": run.revision,
        "package": run.package,
        "location": run.location,
        "cpus": run.limits.cpus,
        "memory_mb": run.limits.memory_mb,
        "limits": _LIMITS.text(run.limits),
        "trigger_kind": run.trigger.kind.value,
        "trigger_by": run.trigger.by,
        "event": run.event,
        "expand": run.expand,
        "defaulted": _WORDS.text(run.defaulted),
        "inputs": _INPUTS.text(run.inputs),
        "queued_at": micros(run.queued_at),
        "files": _FILES.text(run.files),
    }


def _changes(run: Run) -> dict[str, Any]:
    return {
        "state": run.state.value,
        "reason": maybe_whole(run.reason),
        "attempt": run.attempt,
        "fence": run.fence,
        "holder": run.holder,
        "holder_name": run.holder_name,
        "lease_until": maybe_micros(run.lease_until),
        "cancel_requested": run.cancel_requested,
        "claimed_at": maybe_micros(run.claimed_at),
        "started_at": maybe_micros(run.started_at),
        "ended_at": maybe_micros(run.ended_at),
        "payload": maybe_whole(run.payload),
        "payload_digest": run.payload_digest,
        "error": None if run.error is None else _ERROR.text(_whole_error(run.error)),
        "usage": _USAGE.text(run.usage),
        "cold": run.cold,
        "steps": _STEPS.text(run.steps),
        "notices": _WORDS.text(tuple(whole(notice) for notice in run.notices)),
    }


def _whole_error(error: RunError) -> RunError:
    return RunError(
        type=whole(error.type),
        message=whole(error.message),
        trace=tuple(whole(frame) for frame in error.trace),
    )


def _run(row: Row) -> Run:
    return Run(
        id=row["id"],
        project_id=row["project_id"],
        task_id=row["task_id"],
        task_name=row["task_name"],
        revision=row["revision"],
        package=row["package"],
        location=row["location"],
        limits=_LIMITS.value(row["limits"]),
        trigger=Trigger(kind=TriggerKind(row["trigger_kind"]), by=row["trigger_by"]),
        event=row["event"],
        expand=bool(row["expand"]),
        defaulted=_WORDS.value(row["defaulted"]),
        inputs=_INPUTS.value(row["inputs"]),
        state=RunState(row["state"]),
        reason=row["reason"],
        attempt=row["attempt"],
        fence=row["fence"],
        holder=row["holder"],
        holder_name=row["holder_name"],
        lease_until=maybe_time_of(row["lease_until"]),
        cancel_requested=bool(row["cancel_requested"]),
        queued_at=time_of(row["queued_at"]),
        claimed_at=maybe_time_of(row["claimed_at"]),
        started_at=maybe_time_of(row["started_at"]),
        ended_at=maybe_time_of(row["ended_at"]),
        payload=row["payload"],
        payload_digest=row["payload_digest"],
        error=None if row["error"] is None else _ERROR.value(row["error"]),
        usage=_USAGE.value(row["usage"]),
        cold=None if row["cold"] is None else bool(row["cold"]),
        steps=_STEPS.value(row["steps"]),
        files=_FILES.value(row["files"]),
        notices=_WORDS.value(row["notices"]),
    )
