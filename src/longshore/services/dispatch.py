# SPDX-License-Identifier: Apache-2.0
"""The control plane's side of the Link: who gets which run, what it is made of, how it ended."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from longshore.domain.errors import Conflict, Invalid, LongshoreError, NotFound
from longshore.domain.events import RunChanged
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import Digest, RunId
from longshore.domain.logs import LogLine
from longshore.domain.names import checked_key
from longshore.domain.order import Cancelled, Invocation, Lease, Order, Phase, Room
from longshore.domain.package import RUNS_BUCKET, Artifact
from longshore.domain.parameters import carrier_literal, type_json, typed
from longshore.domain.run import Run, RunFile, RunResult, RunState
from longshore.domain.secret import Plaintext, expand, references
from longshore.domain.task import OnLost, Task
from longshore.ports.blobs import Blobs
from longshore.ports.broker import Broker
from longshore.ports.clock import Clock
from longshore.ports.logbook import Logbook
from longshore.ports.notifier import Notifier
from longshore.ports.store import Store, Work
from longshore.ports.vault import Vault
from longshore.services.express import LEASE, Express
from longshore.services.remembered import Remembered
from longshore.services.runs import expandable, unknown_secrets_reason
from longshore.services.secrets import context_of

QUEUE_LIVES = timedelta(hours=6)
"""As long as Lambda keeps an event (its MaximumEventAgeInSeconds) a run waits for an interceptor."""
CLAIM_WAITS_S = 5.0
INLINE_PAYLOAD_BYTES = 256 * 1024
MAX_FILE_BYTES = 50 * 1024**3


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Implements ports.link.Link; see there for each promise."""

    store: Store
    broker: Broker
    blobs: Blobs
    vault: Vault
    logbook: Logbook
    notifier: Notifier
    clock: Clock
    express: Express
    remembered: Remembered
    _claimed: dict[RunId, Run] = field(default_factory=dict, repr=False)
    """Runs that were claimed here, as their rows have them but for what others may have changed: a wish to
    cancel, files. Every change is fenced in the table all the same."""

    async def register(self, me: Interceptor) -> None:
        """Note a sign of life; the time is ours, an interceptor's clock may be off."""
        seen = replace(me, seen_at=self.clock.now())
        await self.store.write(lambda work: work.fleet.seen(seen))
        self.express.seen()

    async def claim(self, me: Interceptor, room: Room) -> Lease | None:
        """Take the oldest queued run that fits; the table is asked before the bell is waited for, so that a
        run whose bell was lost is found by whoever comes next."""
        lease = self.express.take(me, room)
        if lease is None and self.express.should_look(me.location):
            lease = await self._row(me, room)
        if lease is None:
            lease = await self.express.wait(me, room, CLAIM_WAITS_S)
        return lease or self.express.take(me, room) or await self._row(me, room)

    async def _row(self, me: Interceptor, room: Room) -> Lease | None:
        """A lease on a run that the table knows."""
        self.express.looking(me.location)
        run = await self._take(me, room)
        self.express.looked(me.location, run is not None)
        if run is None or run.fence is None or run.lease_until is None:
            return None
        self._claimed[run.id] = run
        self.notifier.notify(RunChanged(run=run))
        return Lease(
            run=run.id,
            attempt=run.attempt,
            holder=me.id,
            fence=run.fence,
            until=run.lease_until,
            limits=run.limits,
        )

    async def _take(self, me: Interceptor, room: Room) -> Run | None:
        now = self.clock.now()
        fence = secrets.token_hex(16)

        def change(work: Work) -> Run | None:
            return work.runs.claim(
                me.location,
                room,
                holder=me.id,
                holder_name=me.name,
                fence=fence,
                at=now,
                until=now + LEASE,
            )

        taking = asyncio.ensure_future(self.store.write(change))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The row may be taken all the same, and nobody would hear of it until the lease has run out.
            with contextlib.suppress(LongshoreError):
                run = await taking
                if run is not None:
                    await self.give_up(run, reason="the interceptor stopped asking as it was given this run")
            raise

    async def redeem(self, lease: Lease) -> Invocation:
        """Put the invocation together; a run that cannot be is failed here, with the reason."""
        run, task, sealed, slug = await self._asked_for(lease)
        values = {
            name: self.vault.open(box, context=context_of(run.project_id, name))
            for name, box in sealed.items()
        }
        try:
            return _invocation(run, task, slug, values)
        except Invalid as error:
            await self.finish(lease, RunResult(state=RunState.FAILED, reason=error.message))
            raise

    async def _asked_for(self, lease: Lease) -> tuple[Run, Task, Mapping[str, bytes], str]:
        """The run, its task as it was then, the secrets that they name, and the project's slug."""
        if ride := self.express.held(lease):
            return ride.run, ride.task, ride.sealed, ride.project.slug
        await self.express.settled(lease.run)
        run = self._known(lease)
        if run is None:
            run = await self.store.read(lambda work: self._held(work, lease))
        owner, task_id, revision = run.project_id, run.task_id, run.revision
        task = await self.remembered.answer(
            ("revision", task_id, revision), lambda work: work.tasks.revision(task_id, revision).task
        )
        slug = await self.remembered.answer(("slug", owner), lambda work: work.projects.get(owner).slug)
        names = sorted({r.name for text in expandable(task, run) for r in references(text)})
        if not names:
            return run, task, {}, slug
        found = await self.store.read(lambda work: work.secrets.named(owner, names))
        return run, task, {secret.name: secret.sealed for secret in found}, slug

    def _known(self, lease: Lease) -> Run | None:
        """The run of a lease, where it was given here and nobody has ended it here."""
        run = self._claimed.get(lease.run)
        if run is None or run.attempt != lease.attempt or run.fence != lease.fence:
            return None
        return run

    async def fetch(self, lease: Lease, digest: Digest) -> AsyncIterator[bytes]:
        """Bytes of the run's package or inputs, and of nothing else."""
        await self.express.settled(lease.run)
        run = await self.store.read(lambda work: self._held(work, lease))
        if digest != run.package and digest not in run.inputs.values():
            raise NotFound(f"run {run.id} has neither package nor input {digest}")
        async for piece in self.blobs.read(digest):
            yield piece

    async def extend(self, lease: Lease, phase: Phase) -> Lease | Cancelled:
        """More time, or the news of a cancellation. The first USER_CODE moves the run to running."""
        if ride := self.express.held(lease):
            if phase is Phase.USER_CODE:
                self.express.started(ride)
            return lease
        await self.express.settled(lease.run)
        now = self.clock.now()
        until = now + LEASE

        def change(work: Work) -> tuple[bool, bool]:
            runs = work.runs
            if phase is Phase.USER_CODE:
                return runs.start(lease.run, attempt=lease.attempt, fence=lease.fence, at=now, until=until)
            return runs.extend(lease.run, attempt=lease.attempt, fence=lease.fence, until=until), False

        go_on, has_started = await self.store.write(change)
        if has_started:
            known = self._known(lease)
            if known is None:
                started = await self.store.read(lambda work: work.runs.get(None, lease.run))
            else:
                started = self._claimed[lease.run] = known.moved(RunState.RUNNING, now)
            self.notifier.notify(RunChanged(run=started))
        return replace(lease, until=until) if go_on else Cancelled(reason="cancelled")

    async def next_seq(self, lease: Lease) -> int:
        """One past what the log has."""
        if ride := self.express.held(lease):
            return ride.lines[-1].seq + 1 if ride.lines else 1
        await self.express.settled(lease.run)
        return await self.logbook.last_seq(lease.run) + 1

    async def log(self, lease: Lease, lines: Sequence[LogLine]) -> None:
        """Append; a late twin's lines are refused."""
        if any(line.run != lease.run or line.attempt != lease.attempt for line in lines):
            raise Conflict(f"these lines are not of attempt {lease.attempt} of run {lease.run}")
        ride = self.express.held(lease)
        if ride is not None and self.express.logged(ride, lines):
            return
        await self.express.settled(lease.run)
        if self._known(lease) is None:
            await self.store.read(lambda work: self._held(work, lease))
        await self.logbook.write(lease.run, lines)

    async def keep_file(self, lease: Lease, name: str, content: AsyncIterator[bytes]) -> RunFile:
        """Keep a file as an object of bucket runs."""
        await self.express.settled(lease.run)
        run = await self.store.read(lambda work: self._held(work, lease))
        key = checked_key(f"{run.id}/{name}")
        async with self.blobs.stage(content, limit=MAX_FILE_BYTES) as staged:
            await self.blobs.keep(staged)
            file = RunFile(bucket=RUNS_BUCKET, key=key, name=name, size=staged.size, digest=staged.digest)
            artifact = Artifact(
                project_id=run.project_id,
                bucket=RUNS_BUCKET,
                key=key,
                digest=staged.digest,
                size=staged.size,
                updated_at=self.clock.now(),
                updated_by=f"run of {run.task_name}",
                run_id=run.id,
            )

            def change(work: Work) -> None:
                self._held(work, lease)
                work.artifacts.put(artifact)
                work.runs.add_file(run.id, file)

            await self.store.write(change)
            self._claimed.pop(run.id, None)  # its row knows more than we do now
        return file

    async def finish(self, lease: Lease, result: RunResult) -> None:
        """Record how the attempt ended, once. Cancellation that was asked for wins over an end that came of
        being stopped; a handler that returned before the news reached it has its result."""
        if not result.state.is_final:
            raise Invalid(f"{result.state} is not an end", field="state")
        payload, digest = await self._payload(result)
        ride = self.express.held(lease)
        ended = (
            await self._finished(lease, result, payload, digest)
            if ride is None
            else await self.express.end(ride, result, payload=payload, payload_digest=digest)
        )
        if ended is not None:
            if ride is None:  # nobody follows a log that is recorded with its end
                await self.logbook.close(ended.id)
            self.notifier.notify(RunChanged(run=ended))

    async def _finished(
        self, lease: Lease, result: RunResult, payload: str | None, digest: Digest | None
    ) -> Run | None:
        """Record the end in the run's row; None when that was done before."""
        await self.express.settled(lease.run)
        now = self.clock.now()

        def ended_as(run: Run) -> Run:
            was_asked = result.state is RunState.CANCELLED and run.cancel_requested
            return replace(
                run.moved(result.state, now, reason=run.reason if was_asked else result.reason),
                payload=payload,
                payload_digest=digest,
                error=result.error,
                usage=result.usage,
                cold=result.cold,
                steps=result.steps,
                notices=(*run.notices, *result.notices),
            )

        def change(work: Work) -> Run | None:
            # A wish to cancel may have come since the claim; what is known of the run holds for other ends.
            run = None if result.state is RunState.CANCELLED else self._known(lease)
            if run is None:
                run = work.runs.get(None, lease.run)
                if run.state.is_final and run.attempt == lease.attempt and run.fence == lease.fence:
                    return None
                self._held(work, lease)
            ended = ended_as(run)
            work.runs.save(ended, expecting=run.state, attempt=lease.attempt, fence=lease.fence)
            return ended

        ended = await self.store.write(change)
        self._claimed.pop(lease.run, None)
        return ended

    async def _payload(self, result: RunResult) -> tuple[str | None, Digest | None]:
        if result.payload is None or len(result.payload) <= INLINE_PAYLOAD_BYTES // 4:
            return result.payload, None
        raw = result.payload.encode("utf-8", "surrogatepass")
        if len(raw) <= INLINE_PAYLOAD_BYTES:
            return result.payload, None

        async def whole() -> AsyncIterator[bytes]:
            yield raw

        async with self.blobs.stage(whole(), limit=MAX_FILE_BYTES) as staged:
            await self.blobs.keep(staged)
            return None, staged.digest

    def _held(self, work: Work, lease: Lease) -> Run:
        """The run, if the lease is still its holder's; raises Conflict for a late twin."""
        run = work.runs.get(None, lease.run)
        if run.state.is_final or run.attempt != lease.attempt or run.fence != lease.fence:
            raise Conflict(f"the lease on attempt {lease.attempt} of run {lease.run} is over")
        return run

    async def give_up(self, run: Run, *, reason: str) -> Run | None:
        """End an attempt whose holder is gone: queued again if it never started or the task allows it, else
        lost. None when somebody else was quicker."""
        now = self.clock.now()
        self._claimed.pop(run.id, None)

        def change(work: Work) -> Run:
            # Read again: a cancellation may have been asked for since the caller looked.
            held = work.runs.get(None, run.id)
            task = work.tasks.revision(held.task_id, held.revision).task
            again = held.state is RunState.STARTING or task.on_lost is OnLost.RUN_AGAIN
            if held.cancel_requested:
                moved = held.moved(RunState.CANCELLED, now, reason=f"{held.reason or 'cancelled'}; {reason}")
            else:
                moved = held.moved(RunState.QUEUED if again else RunState.LOST, now, reason=reason)
            work.runs.save(moved, expecting=run.state, attempt=run.attempt, fence=run.fence)
            return moved

        try:
            moved = await self.store.write(change)
        except Conflict:
            return None
        self.notifier.notify(RunChanged(run=moved))
        if moved.state is RunState.QUEUED:
            await self.broker.publish(Order(run=moved.id, attempt=moved.attempt, location=moved.location))
        else:
            await self.logbook.close(moved.id)
        return moved

    async def expire(self, run: Run) -> None:
        """End a run that nobody took in time."""
        hours = QUEUE_LIVES / timedelta(hours=1)
        expired = run.moved(
            RunState.EXPIRED, self.clock.now(), reason=f"no interceptor took it within {hours:g} hours"
        )

        def change(work: Work) -> None:
            work.runs.save(expired, expecting=run.state, attempt=run.attempt, fence=run.fence)

        try:
            await self.store.write(change)
        except Conflict:
            return  # somebody took it just now
        await self.logbook.close(run.id)
        self.notifier.notify(RunChanged(run=expired))

    async def recover(self) -> int:
        """At the start of the only control plane: whoever held a run before is gone with the old process.

        Returns how many runs were given up."""
        orphans = await self.store.read(lambda work: work.runs.held_by_others([]))
        for run in orphans:
            await self.give_up(run, reason="the server stopped while this run was under way")
        return len(orphans)


def _invocation(run: Run, task: Task, slug: str, values: Mapping[str, Plaintext]) -> Invocation:
    """Everything with its secrets in place; raises Invalid for what is missing or of the wrong type."""
    wanted = {r.name for text in expandable(task, run) for r in references(text) if r.explicit}
    missing = unknown_secrets_reason(sorted(wanted - set(values)))
    if missing:
        raise Invalid(missing)

    def lookup(name: str) -> str | None:
        return values[name].reveal() if name in values else None

    defaults = {p.name: expand(p.default, lookup) for p in task.parameters if p.default is not None}
    environment = {name: expand(value, lookup) for name, value in task.environment.items()}
    if task.parameters:
        environment["task_parameters"] = carrier_literal(task.parameters, defaults)
    event = _event(run, task, values)
    return Invocation(
        run=run.id,
        attempt=run.attempt,
        project_id=run.project_id,
        project=slug,
        task=task.name,
        revision=run.revision,
        runtime=task.runtime,
        handler=task.handler,
        package=run.package,
        event=json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
        limits=run.limits,
        success=task.success,
        reuse=task.reuse,
        network=task.reach,
        environment=environment,
        inputs=run.inputs,
        masks=tuple(value.reveal() for value in values.values()),
    )


def _event(run: Run, task: Task, values: Mapping[str, Plaintext]) -> type_json:
    event = json.loads(run.event)
    if not isinstance(event, dict) or not values:
        return event

    def lookup(name: str) -> str | None:
        return values[name].reveal() if name in values else None

    def filled(value: type_json) -> type_json:
        if isinstance(value, str):
            return expand(value, lookup)
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return value

    declared = {parameter.name: parameter for parameter in task.parameters}
    for name, value in event.items():
        if not run.expand and name not in run.defaulted:
            continue
        full = filled(value)
        if full != value and name in declared:
            full = typed(declared[name], full)
        event[name] = full
    return event
