# SPDX-License-Identifier: Apache-2.0
"""What the tests of stores have in common: things to keep, and every store there is.

PostgreSQL joins by one more entry in STORES.
"""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from longshore.adapters.sql import SqliteStore
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, new_id
from longshore.domain.order import Room
from longshore.domain.package import Artifact, Package
from longshore.domain.parameters import Parameter, ParameterType
from longshore.domain.project import Project
from longshore.domain.run import Run, Trigger, TriggerKind
from longshore.domain.task import Limits, Revision, Task
from longshore.ports.store import Store, Work

STORES: Mapping[str, Callable[[Path], Store]] = {"sqlite": lambda place: SqliteStore(place / "longshore.db")}
"""Each opens an empty store that may use that directory."""
NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
PROJECT = Project(id=ProjectId("p1"), slug="one", created_at=NOW)
OTHER = Project(id=ProjectId("p2"), slug="two", created_at=NOW)
ROOM = Room(cpus=2, memory_mb=2048)
ME = InterceptorId("me")


def with_projects(work: Work) -> None:
    for project in (PROJECT, OTHER):
        work.projects.add(project)


def adding(*runs: Run) -> Callable[[Work], None]:
    """The change that records these runs."""

    def change(work: Work) -> None:
        for run in runs:
            work.runs.add(run)

    return change


def putting(*artifacts: Artifact) -> Callable[[Work], None]:
    """The change that puts these objects."""

    def change(work: Work) -> None:
        for artifact in artifacts:
            work.artifacts.put(artifact)

    return change


def claiming(fence: str = "f", room: Room = ROOM) -> Callable[[Work], Run | None]:
    """The change that claims a run."""
    return lambda work: claim(work, fence, room)


def a_digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


def a_task(name: str = "echo", **fields: object) -> Task:
    task = Task(
        id=TaskId(new_id(NOW)),
        project_id=PROJECT.id,
        name=name,
        runtime="python3.11",
        handler="app.handler",
        package_name=f"{name}.zip",
        package=a_digest(1),
        parameters=(Parameter(name="n", type=ParameterType.NUMBER, default="1", choices=("1", "2")),),
        environment={"A": "b ' \" ; DROP TABLE runs"},
        created_at=NOW,
        updated_at=NOW,
        updated_by="me",
    )
    return dataclasses.replace(task, **fields)  # type: ignore[arg-type]


def revision_of(task: Task) -> Revision:
    return Revision(task=task, at=NOW, by="me", why="created")


def a_run(number: int = 0, **fields: object) -> Run:
    at = NOW + timedelta(milliseconds=number)
    run = Run(
        id=RunId(new_id(at)),
        project_id=PROJECT.id,
        task_id=TaskId("t1"),
        task_name="echo",
        revision=1,
        package=a_digest(1),
        location="default",
        limits=Limits(),
        trigger=Trigger(kind=TriggerKind.API, by="me"),
        event='{"a": "\U0001f980"}',
        expand=True,
        queued_at=at,
    )
    return dataclasses.replace(run, **fields)  # type: ignore[arg-type]


def claim(work: Work, fence: str = "f", room: Room = ROOM, location: str = "default") -> Run | None:
    return work.runs.claim(
        location,
        room,
        holder=ME,
        holder_name="machine",
        fence=fence,
        at=NOW,
        until=NOW + timedelta(seconds=30),
    )


def a_package(number: int, name: str = "a.zip") -> Package:
    return Package(
        digest=a_digest(number),
        project_id=PROJECT.id,
        file_name=name,
        size=number,
        uploaded_at=NOW + timedelta(seconds=number),
        uploaded_by="me",
    )


def an_artifact(key: str, number: int = 1, bucket: str = "data") -> Artifact:
    return Artifact(
        project_id=PROJECT.id,
        bucket=bucket,
        key=key,
        digest=a_digest(number),
        size=10,
        updated_at=NOW,
        updated_by="me",
    )
