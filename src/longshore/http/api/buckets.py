# SPDX-License-Identifier: Apache-2.0
"""Buckets and the objects in them."""

from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from longshore.domain.package import TASKS_BUCKET
from longshore.domain.package import Artifact as Object
from longshore.http.api.models import Artifact, Bucket, Package, Put, findings
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.body import pieces
from longshore.http.context import House, HouseDep
from longshore.http.errors import problem
from longshore.http.guard import GuardedRoute
from longshore.http.openapi import BYTES_IN, BYTES_OUT, NO_CONTENT
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import PROJECT
from longshore.http.ranges import Span, Unsatisfiable, span_of
from longshore.http.waiting import closing
from longshore.services.buckets import MAX_OBJECT_BYTES
from longshore.services.packages import MAX_PACKAGE_BYTES

router = APIRouter(prefix=f"{PROJECT}/buckets", route_class=GuardedRoute, tags=["buckets"])


@router.get("")
async def list_buckets(house: HouseDep, project: ProjectDep, part: PartDep) -> Listing[Bucket]:
    """The project's buckets by name."""
    found = await house.buckets.buckets(project)
    return part.cut(found, Bucket.model_validate, lambda bucket: bucket.name)


@router.get("/{bucket}/objects")
async def list_objects(
    bucket: str,
    house: HouseDep,
    project: ProjectDep,
    part: PartDep,
    prefix: Annotated[str, Query(max_length=2000, description="only keys that begin like this")] = "",
) -> Listing[Artifact]:
    """A bucket's objects by key."""
    found = await house.buckets.list(project, bucket, part.page, prefix=prefix)
    return part.listing(found, Artifact.of, lambda artifact: artifact.key)


@router.put("/{bucket}/objects/{key:path}", status_code=201, openapi_extra=BYTES_IN)
async def put_object(
    bucket: str, key: str, request: Request, house: HouseDep, actor: ActorDep, project: ProjectDep
) -> Put:
    """Keep the body under a key, replacing what it named before. In bucket `tasks` it is a package: it is
    checked first, and the tasks that use that key go on with it."""
    limit = MAX_PACKAGE_BYTES if bucket == TASKS_BUCKET else MAX_OBJECT_BYTES
    done = await house.buckets.put(project, bucket, key, pieces(request, limit=limit), actor=actor)
    return Put(
        artifact=Artifact.of(done.artifact),
        package=Package.model_validate(done.package) if done.package else None,
        findings=findings(done.findings),
        updated_tasks=list(done.updated_tasks),
    )


@router.get("/{bucket}/objects/{key:path}", response_class=StreamingResponse, responses=BYTES_OUT)
async def get_object(
    bucket: str, key: str, request: Request, house: HouseDep, project: ProjectDep
) -> Response:
    """An object's bytes, or with `Range` a stretch of them. It is a file to save, never a page."""
    artifact = await house.buckets.get(project, bucket, key)
    headers = _headers(artifact)
    try:
        span = span_of(request.headers, artifact.size, etag=headers["ETag"])
    except Unsatisfiable as error:
        return problem(416, str(error), headers={"Content-Range": f"bytes */{artifact.size}"})
    if span is None:
        whole = Span(0, artifact.size)
        return StreamingResponse(_read(house, artifact, whole), headers=headers, media_type=_MEDIA)
    headers |= {"Content-Length": str(span.length), "Content-Range": span.header(artifact.size)}
    return StreamingResponse(_read(house, artifact, span), 206, headers=headers, media_type=_MEDIA)


@router.head("/{bucket}/objects/{key:path}", response_class=Response, responses=NO_CONTENT)
async def head_object(bucket: str, key: str, house: HouseDep, project: ProjectDep) -> Response:
    """What GET would say of an object, without its bytes."""
    artifact = await house.buckets.get(project, bucket, key)
    return Response(headers=_headers(artifact), media_type=_MEDIA)


@router.delete("/{bucket}/objects/{key:path}", status_code=204)
async def delete_object(bucket: str, key: str, house: HouseDep, project: ProjectDep) -> None:
    """Forget an object; a package that a task follows stays (409)."""
    await house.buckets.delete(project, bucket, key)


_MEDIA = "application/octet-stream"


def _headers(artifact: Object) -> dict[str, str]:
    name = artifact.key.rsplit("/", 1)[-1]
    return {
        "Content-Length": str(artifact.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "ETag": f'"{artifact.digest}"',
        "Last-Modified": format_datetime(artifact.updated_at, usegmt=True),
        "Accept-Ranges": "bytes",
    }


async def _read(house: House, artifact: Object, span: Span) -> AsyncIterator[bytes]:
    left = span.length
    async with closing(house.buckets.read(artifact, start=span.start)) as found:
        async for piece in found:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return
