# SPDX-License-Identifier: Apache-2.0
"""Artifacts in buckets. An object put into bucket `tasks` is a package, and updates the tasks that use it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from longshore.domain.archive import Finding
from longshore.domain.errors import Conflict, Forbidden
from longshore.domain.names import checked, checked_key
from longshore.domain.package import RUNS_BUCKET, TASKS_BUCKET, Artifact, Bucket, Package
from longshore.domain.project import Actor, Project
from longshore.domain.task import Revision, Task
from longshore.ports.blobs import Blobs, Staged
from longshore.ports.clock import Clock
from longshore.ports.store import Page, Store, Work
from longshore.services.packages import PackageService

MAX_OBJECT_BYTES = 50 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What putting an object did."""

    artifact: Artifact
    package: Package | None = None
    findings: tuple[Finding, ...] = ()
    updated_tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BucketService:
    """Keeps bytes under names."""

    store: Store
    blobs: Blobs
    packages: PackageService
    clock: Clock

    async def put(
        self, project: Project, bucket: str, key: str, stream: AsyncIterator[bytes], *, actor: Actor
    ) -> Put:
        """Keep an object, replacing what the key named before.

        The bytes are durable before any row points at them. Should we die in between, they are
        unreferenced bytes, never a half-done object.
        """
        checked("bucket", bucket, field="bucket")
        checked_key(key)
        _writable(bucket)
        if bucket == TASKS_BUCKET:
            _not_by_a_run(actor)
            return await self._put_package(project, key, stream, actor=actor)
        async with self.blobs.stage(stream, limit=MAX_OBJECT_BYTES) as staged:
            await self.blobs.keep(staged)
            artifact = self._artifact(project, bucket, key, staged, actor)
            await self.store.write(lambda work: work.artifacts.put(artifact))
        return Put(artifact=artifact)

    async def _put_package(
        self, project: Project, key: str, stream: AsyncIterator[bytes], *, actor: Actor
    ) -> Put:
        users = await self.store.read(lambda work: work.tasks.using_package(project.id, key))
        async with self.packages.staged(stream, file_name=key, tasks=users) as (staged, findings):
            await self.blobs.keep(staged)
            artifact = self._artifact(project, TASKS_BUCKET, key, staged, actor)
            package = Package(
                digest=staged.digest,
                project_id=project.id,
                file_name=key,
                size=staged.size,
                uploaded_at=artifact.updated_at,
                uploaded_by=actor.name,
            )

            def change(work: Work) -> tuple[str, ...]:
                work.artifacts.put(artifact)
                work.packages.add(package)
                users = work.tasks.using_package(project.id, key)
                followers = [task for task in users if task.package != package.digest]
                for task in followers:
                    task.check_may_save(actor, before=task)
                    work.tasks.update(_with_package(task, package))
                return tuple(task.name for task in followers)

            updated = await self.store.write(change)
        return Put(artifact=artifact, package=package, findings=findings, updated_tasks=updated)

    def _artifact(self, project: Project, bucket: str, key: str, staged: Staged, actor: Actor) -> Artifact:
        return Artifact(
            project_id=project.id,
            bucket=bucket,
            key=key,
            digest=staged.digest,
            size=staged.size,
            updated_at=self.clock.now(),
            updated_by=actor.name,
        )

    async def buckets(self, project: Project) -> Sequence[Bucket]:
        """The project's buckets."""
        return await self.store.read(lambda work: work.artifacts.buckets(project.id))

    async def list(
        self, project: Project, bucket: str, page: Page, *, prefix: str = ""
    ) -> Sequence[Artifact]:
        """Objects of a bucket by key."""
        return await self.store.read(
            lambda work: work.artifacts.page(project.id, bucket, page, prefix=prefix)
        )

    async def get(self, project: Project, bucket: str, key: str) -> Artifact:
        """What a key names; raises NotFound."""
        return await self.store.read(lambda work: work.artifacts.get(project.id, bucket, key))

    def read(self, artifact: Artifact, *, start: int = 0) -> AsyncIterator[bytes]:
        """An object's bytes."""
        return self.blobs.read(artifact.digest, start=start)

    async def delete(self, project: Project, bucket: str, key: str) -> None:
        """Forget an object. A package that a task follows stays: raises Conflict naming the task."""
        _writable(bucket)

        def change(work: Work) -> Artifact | None:
            artifact = work.artifacts.get(project.id, bucket, key)
            users = work.tasks.using_package(project.id, key) if bucket == TASKS_BUCKET else []
            if users:
                raise Conflict(
                    f"the task {users[0].name} uses {key}; delete the task or give it another package"
                )
            work.artifacts.remove(project.id, bucket, key)
            return None if work.artifacts.is_used(artifact.digest) else artifact

        unused = await self.store.write(change)
        if unused:
            await self.blobs.forget(unused.digest)


def _writable(bucket: str) -> None:
    if bucket == RUNS_BUCKET:
        raise Conflict("bucket runs holds what runs left behind; only the platform writes it")


def _not_by_a_run(actor: Actor) -> None:
    if actor.is_run:
        raise Forbidden("a run's token puts no packages into bucket tasks; that takes the role editor")


def _with_package(task: Task, package: Package) -> Revision:
    at: datetime = package.uploaded_at
    updated = replace(
        task,
        package=package.digest,
        revision=task.revision + 1,
        updated_at=at,
        updated_by=package.uploaded_by,
    )
    return Revision(
        task=updated, at=at, by=package.uploaded_by, why=f"{package.file_name} was put into bucket tasks"
    )
