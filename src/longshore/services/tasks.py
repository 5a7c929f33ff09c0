# SPDX-License-Identifier: Apache-2.0
"""Tasks: created, changed, rolled back. Every change is a revision that runs can point at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from longshore.domain.archive import Finding
from longshore.domain.errors import Conflict, NotFound
from longshore.domain.ids import TaskId, new_id
from longshore.domain.network import NetworkMode, checked_allow
from longshore.domain.package import TASKS_BUCKET, Package
from longshore.domain.parameters import Parameter, trim
from longshore.domain.project import Actor, Project
from longshore.domain.run import Run
from longshore.domain.runtime import runtime
from longshore.domain.secret import references
from longshore.domain.task import DEFAULT_LOCATION, Limits, OnLost, Reuse, Revision, SuccessRule, Task
from longshore.ports.clock import Clock
from longshore.ports.store import Page, Store, Work
from longshore.services.packages import PackageService


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """What a person fills in. `package` is a key in bucket `tasks`."""

    name: str
    runtime: str
    handler: str
    package: str
    description: str = ""
    limits: Limits = field(default_factory=Limits)
    parameters: tuple[Parameter, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    location: str = DEFAULT_LOCATION
    success: SuccessRule = SuccessRule.STATUS_CODE
    on_lost: OnLost = OnLost.GIVE_UP
    reuse: Reuse = Reuse.AUTO
    network: NetworkMode = NetworkMode.EGRESS
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanges:
    """The fields to change; None leaves a field as it is."""

    name: str | None = None
    runtime: str | None = None
    handler: str | None = None
    package: str | None = None
    description: str | None = None
    limits: Limits | None = None
    parameters: tuple[Parameter, ...] | None = None
    environment: Mapping[str, str] | None = None
    location: str | None = None
    success: SuccessRule | None = None
    on_lost: OnLost | None = None
    reuse: Reuse | None = None
    network: NetworkMode | None = None
    allow: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A task as saved, with what its author should know: sentences, and findings in the package."""

    task: Task
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskService:
    """The verbs of the Tasks page."""

    store: Store
    packages: PackageService
    clock: Clock

    async def create(self, project: Project, draft: TaskDraft, *, actor: Actor) -> Saved:
        """A new task over a package that is in bucket `tasks` already."""
        package = await self._package_named(project, draft.package)
        now = self.clock.now()
        given = _tidied(draft.parameters)
        task = Task(
            id=TaskId(new_id(now)),
            project_id=project.id,
            name=draft.name.strip(),
            description=draft.description.strip(),
            runtime=runtime(draft.runtime).id,
            handler=draft.handler.strip(),
            package_name=package.file_name,
            package=package.digest,
            limits=draft.limits,
            parameters=given,
            environment=dict(draft.environment),
            location=draft.location.strip(),
            success=draft.success,
            on_lost=draft.on_lost,
            reuse=draft.reuse,
            network=draft.network,
            allow=checked_allow(draft.allow),
            created_at=now,
            updated_at=now,
            updated_by=actor.name,
        ).checked()
        task.check_may_save(actor)
        revision = Revision(task=task, at=now, by=actor.name, why="created")
        await self.store.write(lambda work: work.tasks.add(revision))
        return await self._saved(task, trimmed_notices(draft.parameters, given))

    async def update(self, project: Project, name: str, changes: TaskChanges, *, actor: Actor) -> Saved:
        """Change what is given; the next run uses it, runs under way keep what they started with."""
        package = await self._package_named(project, changes.package) if changes.package else None

        def apply(task: Task) -> Task:
            changed = replace(
                task,
                name=(changes.name or task.name).strip(),
                runtime=runtime(changes.runtime).id if changes.runtime else task.runtime,
                handler=(changes.handler or task.handler).strip(),
                description=task.description if changes.description is None else changes.description.strip(),
                limits=changes.limits or task.limits,
                parameters=task.parameters if changes.parameters is None else _tidied(changes.parameters),
                environment=task.environment if changes.environment is None else dict(changes.environment),
                location=(changes.location or task.location).strip(),
                success=changes.success or task.success,
                on_lost=changes.on_lost or task.on_lost,
                reuse=changes.reuse or task.reuse,
                network=changes.network or task.network,
                allow=task.allow if changes.allow is None else checked_allow(changes.allow),
            )
            if package is None:
                return changed
            return replace(changed, package=package.digest, package_name=package.file_name)

        task = await self._change(project, name, apply, why="changed", actor=actor)
        return await self._saved(task, trimmed_notices(changes.parameters or (), task.parameters))

    async def rollback(self, project: Project, name: str, to: int | None, *, actor: Actor) -> Saved:
        """Take the package (or with `to` the whole task) from an earlier revision, as a new revision.

        Without `to` it is the newest revision whose package is another one. The object in bucket `tasks`
        stays; putting a new one there updates the task again.
        """
        current = await self.get(project, name)
        target = await self._rollback_target(current, to)

        def apply(task: Task) -> Task:
            if to is None:
                return replace(task, package=target.package, package_name=target.package_name)
            return replace(target, revision=task.revision, name=task.name)

        why = f"rolled back to revision {target.revision}"
        return await self._saved(await self._change(project, name, apply, why=why, actor=actor))

    async def _rollback_target(self, current: Task, to: int | None) -> Task:
        if to is not None:
            return (await self.store.read(lambda work: work.tasks.revision(current.id, to))).task
        page = Page(limit=500)
        history = await self.store.read(lambda work: work.tasks.revisions(current.id, page))
        for revision in history:
            if revision.task.package != current.package:
                return revision.task
        raise Conflict(f"the task {current.name} has had one package only; there is nothing to go back to")

    async def get(self, project: Project, name: str) -> Task:
        """Raises NotFound."""
        return await self.store.read(lambda work: work.tasks.by_name(project.id, name))

    async def list(self, project: Project, page: Page) -> Sequence[tuple[Task, Run | None]]:
        """Tasks by name, each with its newest run."""

        def question(work: Work) -> Sequence[tuple[Task, Run | None]]:
            tasks = work.tasks.page(project.id, page)
            runs = {run.task_id: run for run in work.runs.latest(project.id, [task.id for task in tasks])}
            return [(task, runs.get(task.id)) for task in tasks]

        return await self.store.read(question)

    async def revisions(self, project: Project, name: str, page: Page) -> Sequence[Revision]:
        """A task's history, newest first."""
        task = await self.get(project, name)
        return await self.store.read(lambda work: work.tasks.revisions(task.id, page))

    async def delete(self, project: Project, name: str) -> None:
        """Forget a task; its runs stay in the history and finish what they began."""
        task = await self.get(project, name)
        await self.store.write(lambda work: work.tasks.remove(task.id))

    async def _change(
        self, project: Project, name: str, apply: Callable[[Task], Task], *, why: str, actor: Actor
    ) -> Task:
        now = self.clock.now()

        def change(work: Work) -> Task:
            task = work.tasks.by_name(project.id, name)
            changed = replace(
                apply(task), revision=task.revision + 1, updated_at=now, updated_by=actor.name
            ).checked()
            changed.check_may_save(actor, before=task)
            work.tasks.update(Revision(task=changed, at=now, by=actor.name, why=why))
            return changed

        return await self.store.write(change)

    async def _package_named(self, project: Project, key: str) -> Package:
        def question(work: Work) -> Package:
            try:
                artifact = work.artifacts.get(project.id, TASKS_BUCKET, key)
            except NotFound:
                raise NotFound(
                    f"bucket tasks has no package {key!r};"
                    f" put it there first: longshore artifact put tasks {key}"
                ) from None
            return work.packages.get(project.id, artifact.digest)

        package = await self.store.read(question)
        return replace(package, file_name=key)

    async def _saved(self, task: Task, notices: Sequence[str] = ()) -> Saved:
        findings = await self.packages.findings(task)
        warnings = (*notices, *await self._dangling(task))
        return Saved(task=task, warnings=warnings, findings=findings)

    async def _dangling(self, task: Task) -> tuple[str, ...]:
        """A sentence for every text that looks like a reference and names no secret."""
        texts = {
            **{f"the default of {p.name}": p.default for p in task.parameters if p.default is not None},
            **{f"the environment variable {name}": value for name, value in task.environment.items()},
        }
        found = {where: [r.name for r in references(text)] for where, text in texts.items()}
        wanted = sorted({name for names in found.values() for name in names})
        known = {
            secret.name
            for secret in await self.store.read(lambda work: work.secrets.named(task.project_id, wanted))
        }
        return tuple(
            f"{where} refers to {name}, and this project has no secret of that name"
            for where, names in found.items()
            for name in names
            if name not in known
        )


def _tidied(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    return tuple(
        replace(p, name=p.name.strip(), default=None if p.default is None else trim(p, p.default))
        for p in parameters
    )


def trimmed_notices(given: Sequence[Parameter], saved: Sequence[Parameter]) -> tuple[str, ...]:
    """A sentence for every default that lost the spaces at its ends."""
    return tuple(
        f"spaces around the default of {after.name} were removed"
        for before, after in zip(given, saved, strict=False)
        if before.default != after.default
    )
