# SPDX-License-Identifier: Apache-2.0
"""Tasks and their revisions in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from longshore.adapters.sql.codec import Json, Row, micros, time_of
from longshore.adapters.sql.errors import is_taken
from longshore.adapters.sql.schema import revisions, tasks
from longshore.adapters.sql.statements import new_edition, one, rows
from longshore.domain.errors import Conflict, NotFound
from longshore.domain.ids import ProjectId, TaskId
from longshore.domain.task import Revision, Task
from longshore.ports.store import Page

_TASK: Json[Task] = Json(Task)
_MOST = 2**31 - 1
_IN_PROJECT = select(tasks.c.body).where(tasks.c.project_id == bindparam("project"))
_BY_ID = _IN_PROJECT.where(tasks.c.id == bindparam("id"))
_BY_NAME = _IN_PROJECT.where(tasks.c.name == bindparam("name"))
_REVISION = select(revisions).where(
    revisions.c.task_id == bindparam("task"), revisions.c.revision == bindparam("revision")
)


@dataclass(frozen=True, slots=True)
class SqlTasks:
    """See ports.store.Tasks."""

    connection: Connection

    def add(self, revision: Revision) -> None:
        try:
            self.connection.execute(insert(tasks), _columns(revision.task))
        except IntegrityError as error:
            _refuse_taken(revision.task, error)
            raise
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
            _refuse_taken(task, error)
            raise
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
        self.connection.execute(insert(revisions), values)
        new_edition(self.connection)

    def get(self, project: ProjectId, task: TaskId) -> Task:
        missing = f"there is no task with the id {task[:64]}"
        return _task(one(self.connection, _BY_ID, missing, project=project, id=task))

    def by_name(self, project: ProjectId, name: str) -> Task:
        missing = f"there is no task {name[:64]!r} here"
        return _task(one(self.connection, _BY_NAME, missing, project=project, name=name))

    def page(self, project: ProjectId, page: Page) -> Sequence[Task]:
        query = select(tasks.c.body).where(tasks.c.project_id == project)
        if page.after is not None:
            query = query.where(tasks.c.name > page.after)
        query = query.order_by(tasks.c.name).limit(page.limit)
        return [_task(row) for row in rows(self.connection, query)]

    def using_package(self, project: ProjectId, package_name: str) -> Sequence[Task]:
        query = (
            select(tasks.c.body)
            .where(tasks.c.project_id == project, tasks.c.package_name == package_name)
            .order_by(tasks.c.name)
        )
        return [_task(row) for row in rows(self.connection, query)]

    def revision(self, task: TaskId, revision: int) -> Revision:
        missing = f"the task has no revision {revision}"
        if not 0 < revision <= _MOST:
            raise NotFound(missing)
        return _revision(one(self.connection, _REVISION, missing, task=task, revision=revision))

    def revisions(self, task: TaskId, page: Page) -> Sequence[Revision]:
        query = select(revisions).where(revisions.c.task_id == task)
        if page.after is not None:
            query = query.where(revisions.c.revision < _number(page.after))
        query = query.order_by(revisions.c.revision.desc()).limit(page.limit)
        return [_revision(row) for row in rows(self.connection, query)]

    def remove(self, task: TaskId) -> None:
        self.connection.execute(delete(tasks).where(tasks.c.id == task))
        new_edition(self.connection)


def _number(after: str) -> int:
    return int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0


def _refuse_taken(task: Task, error: IntegrityError) -> None:
    if is_taken(error):
        raise Conflict(f"there is a task {task.name[:64]} in this project already") from error


def _columns(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "project_id": task.project_id,
        "name": task.name,
        "package_name": task.package_name,
        "revision": task.revision,
        "body": _TASK.text(task),
    }


def _task(row: Row) -> Task:
    return _TASK.value(row["body"])


def _revision(row: Row) -> Revision:
    return Revision(task=_TASK.value(row["body"]), at=time_of(row["at"]), by=row["by"], why=row["why"])
