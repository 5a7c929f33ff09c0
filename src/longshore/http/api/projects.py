# SPDX-License-Identifier: Apache-2.0
"""Projects."""

from fastapi import APIRouter

from longshore.http.api.models import NewProject, Project
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import PROJECTS

router = APIRouter(prefix=PROJECTS, route_class=GuardedRoute, tags=["projects"])


@router.get("")
async def list_projects(house: HouseDep, actor: ActorDep, part: PartDep) -> Listing[Project]:
    """The projects that the caller reaches, by slug."""
    found = await house.access.projects(actor, part.page)
    return part.listing(found, Project.model_validate, lambda project: project.slug)


@router.post("", status_code=201)
async def create_project(body: NewProject, house: HouseDep, actor: ActorDep) -> Project:
    """A new, empty project; takes a token that reaches every project."""
    return Project.model_validate(await house.access.create_project(body.slug, actor))


@router.get("/{project}")
async def get_project(project: ProjectDep) -> Project:
    """A project."""
    return Project.model_validate(project)
