# SPDX-License-Identifier: Apache-2.0
"""A look into a package before anything is saved."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from longshore.http.api.models import Checked, DirectorySize, findings
from longshore.http.auth import ProjectDep
from longshore.http.body import pieces
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.openapi import BYTES_IN
from longshore.http.permissions import PROJECT
from longshore.services.packages import MAX_PACKAGE_BYTES

router = APIRouter(prefix=f"{PROJECT}/packages", route_class=GuardedRoute, tags=["packages"])


@router.post("/check", openapi_extra=BYTES_IN)
async def check_package(
    request: Request,
    house: HouseDep,
    project: ProjectDep,
    file_name: Annotated[str, Query(description="what the package is called")] = "package.zip",
    handler: Annotated[str | None, Query(max_length=200, description="file.function to look for")] = None,
    runtime: Annotated[str | None, Query(description="what it is to run on")] = None,
) -> Checked:
    """Inspect the package in the body without keeping it."""
    body = pieces(request, limit=MAX_PACKAGE_BYTES)
    found = await house.packages.check(body, handler=handler, runtime=runtime, file_name=file_name)
    return Checked(
        digest=found.digest,
        size=found.size,
        entries=found.inspection.entries,
        unpacked_bytes=found.inspection.unpacked_bytes,
        findings=findings(found.inspection.findings),
        biggest=[DirectorySize.model_validate(one) for one in found.inspection.biggest],
        python_modules=list(found.inspection.python_modules),
    )
