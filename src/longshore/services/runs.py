# SPDX-License-Identifier: Apache-2.0
"""Runs: asked for, watched, cancelled."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from longshore.domain.errors import Conflict, Invalid, NotFound
from longshore.domain.events import RunChanged
from longshore.domain.ids import Digest, RunId, new_id
from longshore.domain.logs import LogLine
from longshore.domain.order import Order
from longshore.domain.parameters import MAX_EVENT_BYTES, Bound, ParameterType, bind, type_json
from longshore.domain.project import Actor, Project, Scope
from longshore.domain.run import Run, RunState, Trigger, TriggerKind
from longshore.domain.secret import references
from longshore.domain.task import Task
from longshore.ports.blobs import Blobs
from longshore.ports.broker import Broker
from longshore.ports.clock import Clock
from longshore.ports.logbook import Logbook
from longshore.ports.notifier import Notifier
from longshore.ports.store import Page, RunFilter, Store, Work
from longshore.services.express import Express, Ride, with_wait
from longshore.services.remembered import Remembered

INPUT_DIR = "/var/input"
MOST_RINGS = 64
"""Whoever finds one run looks for the next without a bell."""
BREATHES_EACH = 100
"""Runs that are made before others have their turn: some milliseconds."""


@dataclass(frozen=True, slots=True)
class RunService:
    """What people do with runs."""

    store: Store
    broker: Broker
    blobs: Blobs
    logbook: Logbook
    notifier: Notifier
    clock: Clock
    express: Express
    remembered: Remembered

    async def submit(
        self, project: Project, task_name: str, event: type_json, *, trigger: TriggerKind, actor: Actor
    ) -> Run:
        """Record a run, then ring for an interceptor.

        The row is committed first. Should we die before the bell, or the bell be broken, the sweeper finds a
        queued run that nobody holds and rings again; the caller's run stands either way. The other order
        could run a task that no table knows. A run that refers to an unknown secret is recorded as failed.
        """
        [run] = await self.submit_many(project, task_name, [event], trigger=trigger, actor=actor)
        return run

    async def submit_many(
        self,
        project: Project,
        task_name: str,
        events: Sequence[type_json],
        *,
        trigger: TriggerKind,
        actor: Actor,
    ) -> Sequence[Run]:
        """The same for many events, all of them or none: raises Invalid for the first that does not fit."""
        plan = await self._planned(project, task_name)
        alive = await self.express.alive()
        asked = Trigger(kind=trigger, by=actor.name)
        now = self.clock.now()

        def new(task: Task, bound: Bound, inputs: Mapping[str, Digest]) -> Run:
            return with_wait(_new_run(task, bound, inputs, now, trigger=asked, actor=actor), alive)

        def looked_up(work: Work, event: type_json) -> Run:
            task = work.tasks.by_name(project.id, task_name)
            run = new(task, *_with_inputs(work, task, bind(task.parameters, event)))
            missing = _unknown_secrets(work, task, run)
            return run.moved(RunState.FAILED, now, reason=missing) if missing else run

        is_plain = plan.is_plain and not any(_may_refer(event) for event in events)
        plain: list[Run] = []
        for event in events if is_plain else ():
            plain.append(new(plan.task, bind(plan.task.parameters, event), {}))
            if len(plain) % BREATHES_EACH == 0:
                await asyncio.sleep(0)

        def change(work: Work) -> Sequence[Run]:
            runs = plain or [looked_up(work, event) for event in events]
            for run in runs:
                work.runs.add(run)
            return runs

        runs = await self.store.write(change)
        for run in runs:
            self.notifier.notify(RunChanged(run=run))
        for run in runs[:MOST_RINGS]:
            if run.state is RunState.QUEUED:
                await self.broker.publish(Order(run=run.id, attempt=run.attempt, location=run.location))
        return runs

    async def _planned(self, project: Project, task_name: str) -> "_Plan":
        return await self.remembered.answer(
            ("plan", project.id, task_name), lambda work: _plan(work, project, task_name)
        )

    async def ride(
        self, project: Project, task_name: str, event: type_json, *, trigger: TriggerKind, actor: Actor
    ) -> Ride | None:
        """Send a run that its caller waits for on its way by express; see services/express.py. None when it
        takes a closer look at the database first, and `submit`: for inputs, for secrets that the caller
        names, for secrets that do not exist, and when its disk is full."""
        plan = await self._planned(project, task_name)
        if not plan.is_plain or _may_refer(event) or self.store.is_short:
            return None
        bound = bind(plan.task.parameters, event)
        trigger_ = Trigger(kind=trigger, by=actor.name)
        run = _new_run(plan.task, bound, {}, self.clock.now(), trigger=trigger_, actor=actor)
        return self.express.begin(run, plan.task, project, plan.sealed)

    async def get(self, project: Project, run: RunId) -> Run:
        """Raises NotFound, also for another project's run."""
        await self.express.settled(run)
        return await self.store.read(lambda work: work.runs.get(project.id, run))

    async def result(self, run: Run) -> str | None:
        """What the handler returned, JSON text; large ones are read from the artifacts."""
        if run.payload_digest is None:
            return run.payload
        pieces = [piece async for piece in self.blobs.read(run.payload_digest)]
        return b"".join(pieces).decode()

    async def list(self, project: Project, page: Page, wanted: RunFilter) -> Sequence[Run]:
        """Newest first."""
        return await self.store.read(lambda work: work.runs.page(project.id, page, wanted))

    async def cancel(self, project: Project, run_id: RunId, *, actor: Actor) -> Run:
        """End a run: at once when nobody holds it, else with its holder's next heartbeat (within a second).

        Raises Conflict when it is over already.
        """
        now = self.clock.now()
        await self.express.settled(run_id)

        def change(work: Work) -> Run:
            run = work.runs.get(project.id, run_id)
            if run.state.is_final:
                raise Conflict(f"run {run.id} is over already: {run.state}")
            reason = f"cancelled by {actor.name}"
            if run.state is RunState.QUEUED:
                ended = run.moved(RunState.CANCELLED, now, reason=reason)
                work.runs.save(ended, expecting=run.state, attempt=run.attempt, fence=run.fence)
                return ended
            work.runs.ask_to_cancel(run.id, reason)
            return replace(run, cancel_requested=True, reason=reason)

        run = await self.store.write(change)
        if run.state.is_final:
            await self.logbook.close(run.id)
        self.notifier.notify(RunChanged(run=run))
        return run

    async def wait(self, project: Project, run_id: RunId, timeout: float) -> Run:
        """The run once it is over, or as it is after `timeout` seconds. Nothing polls: the end rings."""
        changes = self.notifier.listen(project.id)
        try:
            run = await self.get(project, run_id)
            if run.state.is_final:
                return run
            async with asyncio.timeout(timeout):
                async for event in changes:
                    if event.run.id == run_id and event.run.state.is_final:
                        return event.run
        except TimeoutError:
            pass
        finally:
            await _closed(changes)
        return await self.get(project, run_id)

    async def log(
        self, project: Project, run_id: RunId, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[Sequence[LogLine]]:
        """Batches of log lines; with `follow` to the end of the run.

        A follower whose run ends between the look at its state and the first read still gets every line:
        whoever ends a run closes its log.
        """
        run = await self.get(project, run_id)
        if run.state.is_final:
            short = await self.store.read(lambda work: work.short_logs.lines(run.id))
            if wanted := [line for line in short if line.seq > after]:
                yield wanted
            if short:
                return
        async for batch in self.logbook.read(run.id, after=after, follow=follow and not run.state.is_final):
            yield batch
            if batch:
                after = batch[-1].seq
        if follow and not run.state.is_final:
            async for batch in self.logbook.read(run.id, after=after):
                yield batch


async def _closed(changes: AsyncIterator[RunChanged]) -> None:
    close = getattr(changes, "aclose", None)
    if close is not None:
        await close()


def _new_run(
    task: Task,
    bound: Bound,
    inputs: Mapping[str, Digest],
    now: datetime,
    *,
    trigger: Trigger,
    actor: Actor,
) -> Run:
    text = json.dumps(bound.event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_EVENT_BYTES:
        raise Invalid(f"the event takes {size} bytes; at most {MAX_EVENT_BYTES} fit", field="event")
    return Run(
        id=RunId(new_id(now)),
        project_id=task.project_id,
        task_id=task.id,
        task_name=task.name,
        revision=task.revision,
        package=task.package,
        location=task.location,
        limits=task.limits,
        trigger=trigger,
        event=text,
        expand=actor.may(Scope.EDIT),
        defaulted=bound.defaulted,
        inputs=inputs,
        queued_at=now,
        notices=bound.notices,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a run of a task needs to know of it. `is_plain`: nothing has to be looked up for each run."""

    task: Task
    sealed: Mapping[str, bytes]
    is_plain: bool


def _plan(work: Work, project: Project, task_name: str) -> _Plan:
    task = work.tasks.by_name(project.id, task_name)
    named = {r.name: r.explicit for text in own_texts(task) for r in references(text)}
    sealed = {secret.name: secret.sealed for secret in work.secrets.named(project.id, sorted(named))}
    takes_objects = any(parameter.type is ParameterType.ARTIFACT for parameter in task.parameters)
    missing = any(name not in sealed for name, explicit in named.items() if explicit)
    return _Plan(task=task, sealed=sealed, is_plain=not (takes_objects or missing))


def _may_refer(event: type_json) -> bool:
    """Whether a reference is among the values of an event that a caller gave."""
    values = event.values() if isinstance(event, dict) else ()
    return any(next(references(text), None) is not None for value in values for text in _texts(value))


def _with_inputs(work: Work, task: Task, bound: Bound) -> tuple[Bound, dict[str, Digest]]:
    """Pin the objects that parameters of type artifact name, and put their paths into the event."""
    if not isinstance(bound.event, dict):
        return bound, {}
    event, inputs = dict(bound.event), {}
    for parameter in task.parameters:
        value = event.get(parameter.name)
        if parameter.type is not ParameterType.ARTIFACT or not isinstance(value, str) or not value:
            continue
        bucket, _, key = value.partition("/")
        try:
            artifact = work.artifacts.get(task.project_id, bucket, key)
        except NotFound:
            raise Invalid(
                f"the parameter {parameter.name} names {value!r}, and there is no such artifact:"
                " it takes BUCKET/KEY",
                field=parameter.name,
            ) from None
        inputs[value] = artifact.digest
        event[parameter.name] = f"{INPUT_DIR}/{value}"
    return replace(bound, event=event), inputs


def expandable(task: Task, run: Run) -> Iterator[str]:
    """Every text of a run in which references count: the task's own, and the caller's when it may edit."""
    yield from own_texts(task)
    if "secret." not in run.event and "{{" not in run.event:
        return
    event = json.loads(run.event)
    if not isinstance(event, dict):
        return
    for name, value in event.items():
        if run.expand or name in run.defaulted:
            yield from _texts(value)


def own_texts(task: Task) -> Iterator[str]:
    """A task's own texts in which references count."""
    yield from task.environment.values()
    yield from (p.default for p in task.parameters if p.default is not None)


def _texts(value: type_json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _unknown_secrets(work: Work, task: Task, run: Run) -> str | None:
    wanted = {r.name for text in expandable(task, run) for r in references(text) if r.explicit}
    known = {secret.name for secret in work.secrets.named(task.project_id, sorted(wanted))}
    return unknown_secrets_reason(sorted(wanted - known))


def unknown_secrets_reason(names: Sequence[str]) -> str | None:
    """Why a run that refers to these secrets cannot start; None when there are none."""
    if not names:
        return None
    if len(names) == 1:
        return f"the secret {names[0]} does not exist in this project"
    return f"the secrets {', '.join(names)} do not exist in this project"
