# SPDX-License-Identifier: Apache-2.0
"""Tasks."""

from fastapi import APIRouter

from longshore.domain.task import Limits
from longshore.http.api.models import (
    Revision,
    Rollback,
    Saved,
    Task,
    TaskChanges,
    TaskDraft,
    declared,
    findings,
)
from longshore.http.api.run_models import BriefRun, TaskWithLastRun
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, NumberedPartDep, PartDep
from longshore.http.permissions import PROJECT
from longshore.services import tasks as service

router = APIRouter(prefix=f"{PROJECT}/tasks", route_class=GuardedRoute, tags=["tasks"])


@router.get("")
async def list_tasks(house: HouseDep, project: ProjectDep, part: PartDep) -> Listing[TaskWithLastRun]:
    """Tasks by name, each with its newest run."""
    found = await house.tasks.list(project, part.page)
    return part.listing(
        found,
        lambda pair: TaskWithLastRun(
            **Task.model_validate(pair[0]).model_dump(), last_run=BriefRun.of(pair[1]) if pair[1] else None
        ),
        lambda pair: pair[0].name,
    )


@router.post("", status_code=201)
async def create_task(body: TaskDraft, house: HouseDep, actor: ActorDep, project: ProjectDep) -> Saved:
    """A new task over a package that is in bucket `tasks` already."""
    draft = service.TaskDraft(
        name=body.name,
        runtime=body.runtime,
        handler=body.handler,
        package=body.package,
        description=body.description,
        limits=body.limits.over(Limits()),
        parameters=declared(body.parameters),
        environment=body.environment,
        location=body.location,
        success=body.success,
        on_lost=body.on_lost,
        reuse=body.reuse,
        network=body.network,
        allow=body.allow,
    )
    return _saved(await house.tasks.create(project, draft, actor=actor))


@router.get("/{name}")
async def get_task(name: str, house: HouseDep, project: ProjectDep) -> Task:
    """A task."""
    return Task.model_validate(await house.tasks.get(project, name))


@router.patch("/{name}")
async def change_task(
    name: str, body: TaskChanges, house: HouseDep, actor: ActorDep, project: ProjectDep
) -> Saved:
    """Change what is given; the next run uses it, runs under way keep what they started with."""
    before = await house.tasks.get(project, name)
    changes = service.TaskChanges(
        name=body.name,
        runtime=body.runtime,
        handler=body.handler,
        package=body.package,
        description=body.description,
        limits=None if body.limits is None else body.limits.over(before.limits),
        parameters=None if body.parameters is None else declared(body.parameters),
        environment=body.environment,
        location=body.location,
        success=body.success,
        on_lost=body.on_lost,
        reuse=body.reuse,
        network=body.network,
        allow=body.allow,
    )
    return _saved(await house.tasks.update(project, name, changes, actor=actor))


@router.delete("/{name}", status_code=204)
async def delete_task(name: str, house: HouseDep, project: ProjectDep) -> None:
    """Forget a task; its runs stay in the history."""
    await house.tasks.delete(project, name)


@router.get("/{name}/revisions")
async def list_revisions(
    name: str, house: HouseDep, project: ProjectDep, part: NumberedPartDep
) -> Listing[Revision]:
    """A task's history, newest first."""
    found = await house.tasks.revisions(project, name, part.page)
    return part.listing(found, Revision.of, lambda revision: str(revision.task.revision))


@router.post("/{name}/rollback")
async def roll_back_task(
    name: str, house: HouseDep, actor: ActorDep, project: ProjectDep, body: Rollback | None = None
) -> Saved:
    """Take the package, or with `to` the whole task, from an earlier revision, as a new revision."""
    return _saved(await house.tasks.rollback(project, name, body.to if body else None, actor=actor))


def _saved(saved: service.Saved) -> Saved:
    return Saved(
        task=Task.model_validate(saved.task),
        warnings=list(saved.warnings),
        findings=findings(saved.findings),
    )
