# SPDX-License-Identifier: Apache-2.0
"""The database: one transaction is one function.

A *change* is a plain function over a `Work`; the store runs it in one transaction of its single writer and
may share the commit with its neighbours (group commit), so that a thousand small changes a second stay
durable. It may be called a second time when the first try had to be rolled back, so it must have no effects
but those on the Work. A *question* is the same for reading; it sees one moment, and it must be quick: a store
may ask it in the event loop's own thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from longshore.domain.fleet import Interceptor
from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId, TaskId, TokenId
from longshore.domain.logs import LogLine
from longshore.domain.order import Room
from longshore.domain.package import Artifact, Bucket, Package
from longshore.domain.project import Project, Token
from longshore.domain.run import Run, RunFile, RunState
from longshore.domain.secret import Secret
from longshore.domain.task import Revision, Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list: at most `limit` rows after the one whose key is `after` (keyset paging)."""

    limit: int = 50
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list shows."""

    task_id: TaskId | None = None
    states: tuple[RunState, ...] = ()


class Projects(Protocol):
    """Projects by slug."""

    def add(self, project: Project) -> None:
        """Raises Conflict when the slug is taken."""
        ...

    def by_slug(self, slug: str) -> Project:
        """Raises NotFound."""
        ...

    def get(self, project: ProjectId) -> Project:
        """Raises NotFound."""
        ...

    def page(self, page: Page) -> Sequence[Project]:
        """By slug, ascending; the key is the slug."""
        ...


class Tokens(Protocol):
    """Tokens by the hash of their bits."""

    def add(self, token: Token) -> None:
        """Record a token."""
        ...

    def by_hash(self, digest: str) -> Token | None:
        """The token, whatever its expiry, or None."""
        ...

    def used(self, token: TokenId, at: datetime) -> None:
        """Note when it was used last."""
        ...

    def page(self, project: ProjectId | None, page: Page) -> Sequence[Token]:
        """Bearer tokens of a project (None: those that reach all), newest last; the key is the id."""
        ...

    def remove(self, token: TokenId) -> None:
        """Forget it; forgetting an unknown one is harmless."""
        ...


class Tasks(Protocol):
    """Tasks and their revisions."""

    def add(self, revision: Revision) -> None:
        """Record a new task with its first revision; raises Conflict when the name is taken."""
        ...

    def update(self, revision: Revision) -> None:
        """Record the next revision of a task; raises Conflict when another change came first."""
        ...

    def get(self, project: ProjectId, task: TaskId) -> Task:
        """Raises NotFound."""
        ...

    def by_name(self, project: ProjectId, name: str) -> Task:
        """Raises NotFound."""
        ...

    def page(self, project: ProjectId, page: Page) -> Sequence[Task]:
        """By name, ascending; the key is the name."""
        ...

    def using_package(self, project: ProjectId, package_name: str) -> Sequence[Task]:
        """The tasks that follow an object of bucket `tasks`."""
        ...

    def revision(self, task: TaskId, revision: int) -> Revision:
        """The task as it was; raises NotFound. Revisions outlive their task as long as runs point at them."""
        ...

    def revisions(self, task: TaskId, page: Page) -> Sequence[Revision]:
        """Newest first; the key is the revision number."""
        ...

    def remove(self, task: TaskId) -> None:
        """Forget the task itself; its revisions and runs stay for the history."""
        ...


class Packages(Protocol):
    """Packages ever uploaded."""

    def add(self, package: Package) -> None:
        """Record an upload; the same digest under the same name again only moves its date."""
        ...

    def get(self, project: ProjectId, digest: Digest) -> Package:
        """The newest upload with that digest; raises NotFound."""
        ...

    def history(self, project: ProjectId, file_name: str, page: Page) -> Sequence[Package]:
        """Uploads under one name, newest first; the key is the upload's time in ISO form."""
        ...


class Artifacts(Protocol):
    """Objects in buckets."""

    def put(self, artifact: Artifact) -> None:
        """Record or replace."""
        ...

    def get(self, project: ProjectId, bucket: str, key: str) -> Artifact:
        """Raises NotFound."""
        ...

    def page(self, project: ProjectId, bucket: str, page: Page, *, prefix: str = "") -> Sequence[Artifact]:
        """By key, ascending."""
        ...

    def buckets(self, project: ProjectId) -> Sequence[Bucket]:
        """Every bucket that has an object, by name."""
        ...

    def remove(self, project: ProjectId, bucket: str, key: str) -> None:
        """Raises NotFound."""
        ...

    def is_used(self, digest: Digest) -> bool:
        """Whether an artifact, package or run still points at these bytes."""
        ...


class Secrets(Protocol):
    """Sealed values by name."""

    def put(self, secret: Secret) -> None:
        """Record or replace."""
        ...

    def get(self, project: ProjectId, name: str) -> Secret:
        """Raises NotFound."""
        ...

    def named(self, project: ProjectId, names: Sequence[str]) -> Sequence[Secret]:
        """Those that exist of these names."""
        ...

    def page(self, project: ProjectId, page: Page) -> Sequence[Secret]:
        """By name, ascending."""
        ...

    def any_one(self) -> Secret | None:
        """Some secret of any project, to try a master key on; None when there is none."""
        ...

    def remove(self, project: ProjectId, name: str) -> None:
        """Raises NotFound."""
        ...


class Runs(Protocol):
    """The run table. Every change of a state goes through `move` or `claim`."""

    def add(self, run: Run) -> None:
        """Record a new run."""
        ...

    def get(self, project: ProjectId | None, run: RunId) -> Run:
        """Raises NotFound; with a project also when the run is another project's."""
        ...

    def page(self, project: ProjectId, page: Page, wanted: RunFilter) -> Sequence[Run]:
        """Newest first; the key is the id."""
        ...

    def latest(self, project: ProjectId, tasks: Sequence[TaskId]) -> Sequence[Run]:
        """The newest run of each of these tasks."""
        ...

    def claim(
        self,
        location: str,
        room: Room,
        *,
        holder: InterceptorId,
        holder_name: str,
        fence: str,
        at: datetime,
        until: datetime,
    ) -> Run | None:
        """Move the oldest queued run of a location that fits into the room to starting; None if none fits."""
        ...

    def save(self, run: Run, *, expecting: RunState, attempt: int, fence: str | None) -> None:
        """Write a run that was `moved` or changed, if the row is still in that state, attempt and fence.

        Raises Conflict otherwise: somebody else was quicker, or the writer is a late twin.
        """
        ...

    def extend(self, run: RunId, *, attempt: int, fence: str, until: datetime) -> bool:
        """Give a live lease more time. Whether the run is to go on: False when its cancellation was asked
        for. Raises Conflict when the lease is not the holder's any more."""
        ...

    def start(
        self, run: RunId, *, attempt: int, fence: str, at: datetime, until: datetime
    ) -> tuple[bool, bool]:
        """The same, and a run that is starting and to go on is running from `at` on. Whether it is to go on,
        and whether it has been moved."""
        ...

    def ask_to_cancel(self, run: RunId, reason: str) -> None:
        """Mark a run that somebody holds, and why; its next heartbeat brings the news."""
        ...

    def add_file(self, run: RunId, file: RunFile) -> None:
        """Record a file that a run left."""
        ...

    def queued_locations(self) -> Sequence[tuple[str, int]]:
        """Locations with queued runs, and how many."""
        ...

    def queued_before(self, at: datetime, limit: int = 100) -> Sequence[Run]:
        """Runs that have waited in the queue since before `at`, the oldest first."""
        ...

    def overdue(self, at: datetime, limit: int = 100) -> Sequence[Run]:
        """Runs whose lease ended before `at`."""
        ...

    def held_by_others(self, alive: Sequence[InterceptorId], limit: int = 1000) -> Sequence[Run]:
        """Runs starting or running in the hands of interceptors that are not in the list."""
        ...

    def counts(self, project: ProjectId) -> dict[RunState, int]:
        """How many runs a project has in each state that is not final."""
        ...


class ShortLogs(Protocol):
    """The logs of runs that were over within moments; all others are in the logbook."""

    def add(self, run: RunId, lines: Sequence[LogLine]) -> None:
        """Record a whole log, once."""
        ...

    def lines(self, run: RunId) -> Sequence[LogLine]:
        """All of them; none for a run whose log is elsewhere."""
        ...


class Fleet(Protocol):
    """Interceptors that have been seen."""

    def seen(self, interceptor: Interceptor) -> None:
        """Record a sign of life."""
        ...

    def all(self, since: datetime) -> Sequence[Interceptor]:
        """Those seen since then, by name."""
        ...


class Work(Protocol):
    """Everything a transaction reaches."""

    @property
    def projects(self) -> Projects: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def packages(self) -> Packages: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def short_logs(self) -> ShortLogs: ...
    @property
    def fleet(self) -> Fleet: ...


class Store(Protocol):
    """See the module's text."""

    async def write(self, change: Callable[[Work], T]) -> T:
        """Run a change and return its value once it is committed and durable.

        What the change raises is raised here and leaves nothing behind; Unavailable when the database is
        locked by another for long, or its disk is full. It may be run again, after what it did was undone.
        """
        ...

    async def read(self, question: Callable[[Work], T]) -> T:
        """Run a question on what has been committed."""
        ...

    async def edition(self) -> int:
        """A number that is another one after every change of projects, tokens, tasks or secrets: what has
        been read of them holds for as long as it stays. It may take 50 ms to show what another process has
        changed. Runs, files and signs of life do not count."""
        ...

    @property
    def is_short(self) -> bool:
        """Whether its disk was full and nobody has made room since: what is under way needs what is left, and
        a new run is refused (Unavailable)."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the files."""
        ...
