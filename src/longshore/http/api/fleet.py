# SPDX-License-Identifier: Apache-2.0
"""Machines that carry out runs, and what they can run."""

from fastapi import APIRouter

from longshore.http.api.models import Interceptor, Runtime
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import API

router = APIRouter(prefix=API, route_class=GuardedRoute, tags=["fleet"])


@router.get("/interceptors")
async def list_interceptors(house: HouseDep, part: PartDep) -> Listing[Interceptor]:
    """Those that were seen within the last minute."""
    found = await house.fleet.interceptors()
    return part.cut(found, Interceptor.of, lambda one: f"{one.name}/{one.id}")


@router.get("/runtimes")
async def list_runtimes(house: HouseDep, part: PartDep) -> Listing[Runtime]:
    """Runtimes, each with the interceptors that have it."""
    found = (await house.fleet.runtimes()).items()
    return part.cut(
        [Runtime(id=id, interceptors=names) for id, names in found], lambda one: one, lambda one: one.id
    )
