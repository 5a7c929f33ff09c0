# SPDX-License-Identifier: Apache-2.0
"""Objects in buckets, in a table; and whether anything points at some bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, exists, func, literal, or_, select

from longshore.adapters.sql.codec import Row, micros, time_of
from longshore.adapters.sql.schema import artifacts, packages, revisions, run_objects, runs
from longshore.adapters.sql.statements import one, put, rows
from longshore.domain.errors import NotFound
from longshore.domain.ids import Digest, ProjectId
from longshore.domain.package import Artifact, Bucket
from longshore.ports.store import Page

_GET = select(artifacts).where(
    artifacts.c.project_id == bindparam("project"),
    artifacts.c.bucket == bindparam("bucket"),
    artifacts.c.key == bindparam("key"),
)
_POINTERS = (
    artifacts.c.digest,
    packages.c.digest,
    revisions.c.package,
    runs.c.package,
    runs.c.payload_digest,
    run_objects.c.digest,
)
_IS_USED = select(
    or_(*(exists(select(literal(1)).where(column == bindparam("digest"))) for column in _POINTERS))
)


@dataclass(frozen=True, slots=True)
class SqlArtifacts:
    """See ports.store.Artifacts."""

    connection: Connection

    def put(self, artifact: Artifact) -> None:
        values = {
            "digest": artifact.digest,
            "size": artifact.size,
            "updated_at": micros(artifact.updated_at),
            "updated_by": artifact.updated_by,
            "run_id": artifact.run_id,
        }
        key = {"project_id": artifact.project_id, "bucket": artifact.bucket, "key": artifact.key}
        put(self.connection, artifacts, key, values)

    def get(self, project: ProjectId, bucket: str, key: str) -> Artifact:
        missing = f"bucket {bucket[:63]} has no object {key[:200]!r}"
        return _artifact(one(self.connection, _GET, missing, project=project, bucket=bucket, key=key))

    def page(self, project: ProjectId, bucket: str, page: Page, *, prefix: str = "") -> Sequence[Artifact]:
        query = select(artifacts).where(artifacts.c.project_id == project, artifacts.c.bucket == bucket)
        if prefix:
            query = query.where(artifacts.c.key >= prefix)
            end = _end_of(prefix)
            query = query if end is None else query.where(artifacts.c.key < end)
        if page.after is not None:
            query = query.where(artifacts.c.key > page.after)
        query = query.order_by(artifacts.c.key).limit(page.limit)
        return [_artifact(row) for row in rows(self.connection, query)]

    def buckets(self, project: ProjectId) -> Sequence[Bucket]:
        query = (
            select(
                artifacts.c.bucket,
                func.count().label("objects"),
                func.sum(artifacts.c.size).label("size"),
                func.max(artifacts.c.updated_at).label("updated_at"),
            )
            .where(artifacts.c.project_id == project)
            .group_by(artifacts.c.bucket)
            .order_by(artifacts.c.bucket)
        )
        return [
            Bucket(
                name=row["bucket"],
                objects=int(row["objects"]),
                size=int(row["size"]),
                updated_at=time_of(int(row["updated_at"])),
            )
            for row in rows(self.connection, query)
        ]

    def remove(self, project: ProjectId, bucket: str, key: str) -> None:
        done = self.connection.execute(
            delete(artifacts).where(
                artifacts.c.project_id == project, artifacts.c.bucket == bucket, artifacts.c.key == key
            )
        )
        if done.rowcount == 0:
            raise NotFound(f"bucket {bucket[:63]} has no object {key[:200]!r}")

    def is_used(self, digest: Digest) -> bool:
        return bool(self.connection.execute(_IS_USED, {"digest": digest}).scalar())


def _end_of(prefix: str) -> str | None:
    """The least text that comes after every text with that prefix; None when there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    after = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if after == 0xD800 else after)  # no text has what is between these


def _artifact(row: Row) -> Artifact:
    return Artifact(
        project_id=row["project_id"],
        bucket=row["bucket"],
        key=row["key"],
        digest=row["digest"],
        size=row["size"],
        updated_at=time_of(row["updated_at"]),
        updated_by=row["updated_by"],
        run_id=row["run_id"],
    )
