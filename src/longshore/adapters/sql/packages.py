# SPDX-License-Identifier: Apache-2.0
"""Packages ever uploaded, in a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select

from longshore.adapters.sql.codec import Row, micros, time_of
from longshore.adapters.sql.schema import packages
from longshore.adapters.sql.statements import one, put, rows
from longshore.domain.ids import Digest, ProjectId
from longshore.domain.package import Package
from longshore.ports.store import Page

_NEWEST = (
    select(packages)
    .where(packages.c.project_id == bindparam("project"), packages.c.digest == bindparam("digest"))
    .order_by(packages.c.uploaded_at.desc())
    .limit(1)
)


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
        key = {
            "project_id": package.project_id,
            "file_name": package.file_name,
            "digest": package.digest,
        }
        put(self.connection, packages, key, values)

    def get(self, project: ProjectId, digest: Digest) -> Package:
        missing = f"there is no package {digest[:64]} in this project"
        return _package(one(self.connection, _NEWEST, missing, project=project, digest=digest))

    def history(self, project: ProjectId, file_name: str, page: Page) -> Sequence[Package]:
        query = select(packages).where(packages.c.project_id == project, packages.c.file_name == file_name)
        if page.after is not None:
            query = query.where(packages.c.uploaded_at < micros(_moment(page.after)))
        query = query.order_by(packages.c.uploaded_at.desc()).limit(page.limit)
        return [_package(row) for row in rows(self.connection, query)]


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
