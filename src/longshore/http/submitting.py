# SPDX-License-Identifier: Apache-2.0
"""Asking for a run, and waiting for its end: what the route and the short way in have in common."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.types import Receive

from longshore.domain.errors import Invalid
from longshore.domain.parameters import type_json
from longshore.domain.project import Actor, Project
from longshore.domain.run import Run, TriggerKind
from longshore.http.waiting import unless_gone
from longshore.services.runs import RunService

_PEOPLE = {TriggerKind.UI.value: TriggerKind.UI, TriggerKind.CLI.value: TriggerKind.CLI}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run that is asked for. `wait` is in seconds; 0 does not wait."""

    project: Project
    task: str
    event: type_json
    trigger: TriggerKind
    actor: Actor
    wait: float


async def run_of(runs: RunService, asked: Asked, receive: Receive) -> Run:
    """The run as it is once it is over, or when the time is up, or as it was queued. Raises ClientDisconnect
    when the caller hangs up while it waits; the run goes on."""
    project, trigger, actor = asked.project, asked.trigger, asked.actor
    ride = None
    if asked.wait:
        ride = await runs.ride(project, asked.task, asked.event, trigger=trigger, actor=actor)
    if ride is None:
        run = await runs.submit(project, asked.task, asked.event, trigger=trigger, actor=actor)
    else:
        ended = await ride.answer  # it takes a fraction of a second: nobody hangs up in that time
        if ended is not None:
            return ended
        run = ride.run
    if not asked.wait or run.state.is_final:
        return run
    return await unless_gone(receive, runs.wait(project, run.id, asked.wait))


def event_of(
    given: Collection[str], event: type_json, parameters: Mapping[str, type_json] | None
) -> type_json:
    """The event with the parameters laid over it. A null that was sent is an event; none at all is {}."""
    told = event if "event" in given else {}
    if parameters is None:
        return told
    if not isinstance(told, dict):
        raise Invalid(
            "parameters go into an event that is a JSON object; this one is not", field="parameters"
        )
    return {**told, **parameters}


def trigger_of(header: str | None) -> TriggerKind:
    """Where a run was asked for, by the header X-Longshore-Trigger."""
    return _PEOPLE.get(header or "", TriggerKind.API)
