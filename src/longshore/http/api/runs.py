# SPDX-License-Identifier: Apache-2.0
"""Runs."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.domain.errors import NotFound
from longshore.domain.ids import RunId
from longshore.domain.run import RunState
from longshore.http.api.run_models import BriefRun, Queued, Run, SubmitRun, SubmitRuns
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import PROJECT
from longshore.http.submitting import Asked, event_of, run_of, trigger_of
from longshore.http.waiting import unless_gone
from longshore.ports.store import RunFilter

router = APIRouter(prefix=PROJECT, route_class=GuardedRoute, tags=["runs"])

Wait = Annotated[
    float, Query(ge=0, le=300, allow_inf_nan=False, description="seconds to wait for the end of the run")
]


@router.post(
    "/tasks/{name}/runs", status_code=202, responses={200: {"model": Run, "description": "The run is over."}}
)
async def submit_run(
    name: str,
    request: Request,
    response: Response,
    house: HouseDep,
    actor: ActorDep,
    project: ProjectDep,
    body: SubmitRun | None = None,
    wait: Wait = 0,
    x_longshore_trigger: Annotated[
        str | None, Header(description="ui or cli: where it was asked for")
    ] = None,
) -> Run:
    """Queue a run of a task and answer at once, or once it is over."""
    kind = trigger_of(x_longshore_trigger)
    given = body or SubmitRun()
    event = event_of(given.model_fields_set, given.event, given.parameters)
    asked = Asked(project=project, task=name, event=event, trigger=kind, actor=actor, wait=wait)
    run = await run_of(house.runs, asked, request.receive)
    if run.state.is_final:
        response.status_code = 200
    return Run.of(run)


@router.post("/tasks/{name}/runs/bulk", status_code=202)
async def submit_runs(
    name: str,
    house: HouseDep,
    actor: ActorDep,
    project: ProjectDep,
    body: SubmitRuns,
    x_longshore_trigger: Annotated[
        str | None, Header(description="ui or cli: where it was asked for")
    ] = None,
) -> Queued:
    """Queue a run for each of up to 10,000 events: all of them, or none when one does not fit."""
    kind = trigger_of(x_longshore_trigger)
    runs = await house.runs.submit_many(project, name, body.events, trigger=kind, actor=actor)
    return Queued(runs=[run.id for run in runs])


@router.get("/runs")
async def list_runs(
    house: HouseDep,
    project: ProjectDep,
    part: PartDep,
    task: Annotated[str | None, Query(description="a task's name")] = None,
    state: Annotated[tuple[RunState, ...], Query(description="one of these states")] = (),
) -> Listing[BriefRun]:
    """Runs, newest first."""
    task_id = None if task is None else (await house.tasks.get(project, task)).id
    found = await house.runs.list(project, part.page, RunFilter(task_id=task_id, states=state))
    return part.listing(found, BriefRun.of, lambda run: run.id)


@router.get("/runs/{id}")
async def get_run(id: str, request: Request, house: HouseDep, project: ProjectDep, wait: Wait = 0) -> Run:
    """A run; with `wait` once it is over or the time is up."""
    if wait:
        return Run.of(await unless_gone(request.receive, house.runs.wait(project, RunId(id), wait)))
    return Run.of(await house.runs.get(project, RunId(id)))


@router.post("/runs/{id}/cancel")
async def cancel_run(id: str, house: HouseDep, actor: ActorDep, project: ProjectDep) -> Run:
    """End a run: at once when nobody holds it, else within a second."""
    return Run.of(await house.runs.cancel(project, RunId(id), actor=actor))


@router.get(
    "/runs/{id}/result",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {}}}, "description": "What was returned."}},
)
async def get_result(id: str, house: HouseDep, project: ProjectDep) -> Response:
    """What the handler returned, byte for byte."""
    result = await house.runs.result(await house.runs.get(project, RunId(id)))
    if result is None:
        raise NotFound(f"run {id} has no result")
    return Response(result.encode("utf-8", "surrogatepass"), media_type="application/json")
