# SPDX-License-Identifier: Apache-2.0
"""Projects in a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from longshore.adapters.sql.codec import Row, micros, time_of
from longshore.adapters.sql.errors import is_taken
from longshore.adapters.sql.schema import projects
from longshore.adapters.sql.statements import new_edition, one, rows
from longshore.domain.errors import Conflict
from longshore.domain.ids import ProjectId
from longshore.domain.project import Project
from longshore.ports.store import Page

_BY_SLUG = select(projects).where(projects.c.slug == bindparam("slug"))
_BY_ID = select(projects).where(projects.c.id == bindparam("id"))


@dataclass(frozen=True, slots=True)
class SqlProjects:
    """See ports.store.Projects."""

    connection: Connection

    def add(self, project: Project) -> None:
        values = {"id": project.id, "slug": project.slug, "created_at": micros(project.created_at)}
        try:
            self.connection.execute(insert(projects), values)
        except IntegrityError as error:
            if is_taken(error):
                raise Conflict(f"there is a project {project.slug[:64]} already") from error
            raise
        new_edition(self.connection)

    def by_slug(self, slug: str) -> Project:
        return _project(one(self.connection, _BY_SLUG, f"there is no project {slug[:64]!r}", slug=slug))

    def get(self, project: ProjectId) -> Project:
        missing = f"there is no project with the id {project[:64]}"
        return _project(one(self.connection, _BY_ID, missing, id=project))

    def page(self, page: Page) -> Sequence[Project]:
        query = select(projects).order_by(projects.c.slug).limit(page.limit)
        if page.after is not None:
            query = query.where(projects.c.slug > page.after)
        return [_project(row) for row in rows(self.connection, query)]


def _project(row: Row) -> Project:
    return Project(id=row["id"], slug=row["slug"], created_at=time_of(row["created_at"]))
