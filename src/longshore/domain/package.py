# SPDX-License-Identifier: Apache-2.0
"""A package: an immutable, checked archive of code. And an artifact: a named object in a bucket."""

from dataclasses import dataclass
from datetime import datetime

from longshore.domain.ids import Digest, ProjectId, RunId

TASKS_BUCKET = "tasks"
"""The bucket whose objects are packages: an object put there updates the tasks that use its name."""
RUNS_BUCKET = "runs"
"""The bucket of what runs leave behind; only the platform writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A checked zip or jar, addressed by its digest. `file_name` is its object's key in bucket `tasks`."""

    digest: Digest
    project_id: ProjectId
    file_name: str
    size: int
    uploaded_at: datetime
    uploaded_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An object in a bucket: a name for some bytes. Putting the same key again replaces what it names."""

    project_id: ProjectId
    bucket: str
    key: str
    digest: Digest
    size: int
    updated_at: datetime
    updated_by: str
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket as a list shows it."""

    name: str
    objects: int
    size: int
    updated_at: datetime | None
