# SPDX-License-Identifier: Apache-2.0
"""Tasks with their revisions, packages and artifacts in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from longshore.adapters.sql.codec import Json, Row, micros, time_of
from longshore.adapters.sql.places import one
from longshore.adapters.sql.schema import artifacts, packages, revisions, run_inputs, runs, tasks
from longshore.domain.errors import Conflict, NotFound
from longshore.domain.ids import Digest, ProjectId, TaskId
from longshore.domain.package import Artifact, Bucket, Package
from longshore.domain.task import Revision, Task
from longshore.ports.store import Page

_TASK: Json[Task] = Json(Task)


@dataclass(frozen=True, slots=True)
class SqlTasks:
    """See ports.store.Tasks."""

    connection: Connection

    def add(self, revision: Revision) -> None:
        try:
            self.connection.execute(insert(tasks).values(_columns(revision.task)))
        except IntegrityError as error:
            raise Conflict(f"there is a task {revision.task.name} in this project already") from error
        self._remember(revision)

    def update(self, revision: Revision) -> None:
        task = revision.task
        try:
            done = self.connection.execute(
                update(tasks)
                .where(tasks.c.id == task.id, tasks.c.revision == task.revision - 1)
                .values(_columns(task))
            )
        except IntegrityError as error:
            raise Conflict(f"there is a task {task.name} in this project already") from error
        if done.rowcount == 0:
            raise Conflict(f"the task {task.name} was changed by somebody else just now; look and try again")
        self._remember(revision)

    def _remember(self, revision: Revision) -> None:
        values = {
            "task_id": revision.task.id,
            "revision": revision.task.revision,
            "package": revision.task.package,
            "at": micros(revision.at),
            "by": revision.by,
            "why": revision.why,
            "body": _TASK.text(revision.task),
        }
        self.connection.execute(insert(revisions).values(values))

    def get(self, project: ProjectId, task: TaskId) -> Task:
        query = select(tasks.c.body).where(tasks.c.project_id == project, tasks.c.id == task)
        return _TASK.value(one(self.connection, query, f"there is no task with the id {task}")["body"])

    def by_name(self, project: ProjectId, name: str) -> Task:
        query = select(tasks.c.body).where(tasks.c.project_id == project, tasks.c.name == name)
        return _TASK.value(one(self.connection, query, f"there is no task {name[:64]!r} here")["body"])

    def page(self, project: ProjectId, page: Page) -> Sequence[Task]:
        query = select(tasks.c.body).where(tasks.c.project_id == project)
        if page.after is not None:
            query = query.where(tasks.c.name > page.after)
        found = self.connection.execute(query.order_by(tasks.c.name).limit(page.limit))
        return [_TASK.value(body) for (body,) in found]

    def using_package(self, project: ProjectId, package_name: str) -> Sequence[Task]:
        query = (
            select(tasks.c.body)
            .where(tasks.c.project_id == project, tasks.c.package_name == package_name)
            .order_by(tasks.c.name)
        )
        return [_TASK.value(body) for (body,) in self.connection.execute(query)]

    def revision(self, task: TaskId, revision: int) -> Revision:
        query = select(revisions).where(revisions.c.task_id == task, revisions.c.revision == revision)
        return _revision(one(self.connection, query, f"the task has no revision {revision}"))

    def revisions(self, task: TaskId, page: Page) -> Sequence[Revision]:
        query = select(revisions).where(revisions.c.task_id == task)
        if page.after is not None:
            query = query.where(revisions.c.revision < _number(page.after))
        query = query.order_by(revisions.c.revision.desc()).limit(page.limit)
        return [_revision(dict(row)) for row in self.connection.execute(query).mappings()]

    def remove(self, task: TaskId) -> None:
        self.connection.execute(delete(tasks).where(tasks.c.id == task))


def _number(after: str) -> int:
    return int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0


def _columns(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "project_id": task.project_id,
        "name": task.name,
        "package_name": task.package_name,
        "revision": task.revision,
        "body": _TASK.text(task),
    }


def _revision(row: Row) -> Revision:
    return Revision(task=_TASK.value(row["body"]), at=time_of(row["at"]), by=row["by"], why=row["why"])


@dataclass(frozen=True, slots=True)
class SqlPackages:
    """See ports.store.Packages."""

    connection: Connection

    def add(self, package: Package) -> None:
        values = {
            "size": package.size,
            "uploaded_at": micros(package.uploaded_at),
            "uploaded_by": package.uploaded_by,
        }
        self.connection.execute(
            upsert(packages)
            .values(
                project_id=package.project_id, file_name=package.file_name, digest=package.digest, **values
            )
            .on_conflict_do_update(index_elements=["project_id", "file_name", "digest"], set_=values)
        )

    def get(self, project: ProjectId, digest: Digest) -> Package:
        query = (
            select(packages)
            .where(packages.c.project_id == project, packages.c.digest == digest)
            .order_by(packages.c.uploaded_at.desc())
            .limit(1)
        )
        return _package(one(self.connection, query, f"there is no package {digest} in this project"))

    def history(self, project: ProjectId, file_name: str, page: Page) -> Sequence[Package]:
        query = select(packages).where(packages.c.project_id == project, packages.c.file_name == file_name)
        if page.after is not None:
            query = query.where(packages.c.uploaded_at < micros(_moment(page.after)))
        query = query.order_by(packages.c.uploaded_at.desc()).limit(page.limit)
        return [_package(dict(row)) for row in self.connection.execute(query).mappings()]


def _moment(after: str) -> datetime:
    try:
        at = datetime.fromisoformat(after)
    except ValueError:
        return time_of(0)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _package(row: Row) -> Package:
    return Package(
        digest=row["digest"],
        project_id=row["project_id"],
        file_name=row["file_name"],
        size=row["size"],
        uploaded_at=time_of(row["uploaded_at"]),
        uploaded_by=row["uploaded_by"],
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
        self.connection.execute(
            upsert(artifacts)
            .values(project_id=artifact.project_id, bucket=artifact.bucket, key=artifact.key, **values)
            .on_conflict_do_update(index_elements=["project_id", "bucket", "key"], set_=values)
        )

    def get(self, project: ProjectId, bucket: str, key: str) -> Artifact:
        query = select(artifacts).where(
            artifacts.c.project_id == project, artifacts.c.bucket == bucket, artifacts.c.key == key
        )
        return _artifact(one(self.connection, query, f"bucket {bucket[:63]} has no object {key[:200]!r}"))

    def page(self, project: ProjectId, bucket: str, page: Page, *, prefix: str = "") -> Sequence[Artifact]:
        query = select(artifacts).where(artifacts.c.project_id == project, artifacts.c.bucket == bucket)
        if prefix:
            query = query.where(
                artifacts.c.key >= prefix, func.substr(artifacts.c.key, 1, len(prefix)) == prefix
            )
        if page.after is not None:
            query = query.where(artifacts.c.key > page.after)
        query = query.order_by(artifacts.c.key).limit(page.limit)
        return [_artifact(dict(row)) for row in self.connection.execute(query).mappings()]

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
            for row in self.connection.execute(query).mappings()
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
        places = (
            artifacts.c.digest,
            packages.c.digest,
            revisions.c.package,
            runs.c.package,
            runs.c.payload_digest,
            run_inputs.c.digest,
        )
        found = [exists(select(literal(1)).where(column == digest)) for column in places]
        return bool(self.connection.execute(select(or_(*found))).scalar())


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
