# SPDX-License-Identifier: Apache-2.0
"""The shapes of the wire, but for runs': domain values as JSON shows them, and what people send."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from longshore.domain import archive, fleet, logs, package, parameters, secret, task
from longshore.domain import project as domain_project
from longshore.domain.network import NetworkMode
from longshore.domain.parameters import ParameterType
from longshore.domain.project import Role
from longshore.domain.task import OnLost, Reuse, SuccessRule

Number = Annotated[float, Field(allow_inf_nan=False, ge=0, le=2**53)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Sent(BaseModel):
    """Something that people send: a member that nobody knows is a mistake, and said to be one."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """Something that is shown as the domain has it."""

    model_config = ConfigDict(from_attributes=True)


class Project(Shown):
    """A room of its own for tasks, secrets, artifacts and tokens."""

    id: str
    slug: str
    created_at: datetime


class NewProject(Sent):
    """A project to be."""

    slug: str


class Token(BaseModel):
    """Who may call; its value is shown once, when it is made."""

    id: str
    name: str
    role: Role
    project: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, token: domain_project.Token, slug: str) -> Self:
        """A token of the project with that slug."""
        return cls(
            id=token.id,
            name=token.name,
            role=token.role,
            project=slug,
            created_at=token.created_at,
            expires_at=token.expires_at,
            used_at=token.used_at,
        )


class MadeToken(Token):
    """A new token with its value, which is never to be had again."""

    token: str


class NewToken(Sent):
    """A token to be."""

    name: str
    role: Role
    expires_in_days: int | None = Field(default=None, ge=1, le=36_500)


class Limits(Shown):
    """What a run may take."""

    cpus: float
    memory_mb: int
    disk_mb: int
    timeout_s: float
    pids: int


class SomeLimits(Sent):
    """The limits to set; the others keep what they had."""

    cpus: Number | None = None
    memory_mb: Count | None = None
    disk_mb: Count | None = None
    timeout_s: Number | None = None
    pids: Count | None = None

    def over(self, before: task.Limits) -> task.Limits:
        """The whole set."""
        return task.Limits(
            cpus=before.cpus if self.cpus is None else self.cpus,
            memory_mb=before.memory_mb if self.memory_mb is None else self.memory_mb,
            disk_mb=before.disk_mb if self.disk_mb is None else self.disk_mb,
            timeout_s=before.timeout_s if self.timeout_s is None else self.timeout_s,
            pids=before.pids if self.pids is None else self.pids,
        )


class Parameter(Shown):
    """A declared parameter."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    name: str
    type: ParameterType = ParameterType.STRING
    unit: str = ""
    required: bool = False
    default: str | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    def declared(self) -> parameters.Parameter:
        """As the domain has it."""
        return parameters.Parameter(
            name=self.name,
            type=self.type,
            unit=self.unit,
            required=self.required,
            default=self.default,
            choices=self.choices,
            description=self.description,
        )


def declared(given: Sequence[Parameter]) -> tuple[parameters.Parameter, ...]:
    """All of them as the domain has them."""
    return tuple(parameter.declared() for parameter in given)


class Task(Shown):
    """A task as it is now. `package` is the digest of what it runs, `package_name` the key it follows."""

    id: str
    name: str
    description: str
    runtime: str
    handler: str
    package: str
    package_name: str
    limits: Limits
    parameters: list[Parameter]
    environment: dict[str, str]
    location: str
    success: SuccessRule
    on_lost: OnLost
    reuse: Reuse
    network: NetworkMode
    allow: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime
    updated_by: str


class TaskDraft(Sent):
    """A task to be; `package` is a key in bucket `tasks`."""

    name: str
    runtime: str
    handler: str
    package: str
    description: str = ""
    limits: SomeLimits = SomeLimits()
    parameters: tuple[Parameter, ...] = ()
    environment: dict[str, str] = {}
    location: str = task.DEFAULT_LOCATION
    success: SuccessRule = SuccessRule.STATUS_CODE
    on_lost: OnLost = OnLost.GIVE_UP
    reuse: Reuse = Reuse.AUTO
    network: NetworkMode = NetworkMode.EGRESS
    allow: tuple[str, ...] = ()


class TaskChanges(Sent):
    """The fields of a task to change."""

    name: str | None = None
    runtime: str | None = None
    handler: str | None = None
    package: str | None = None
    description: str | None = None
    limits: SomeLimits | None = None
    parameters: tuple[Parameter, ...] | None = None
    environment: dict[str, str] | None = None
    location: str | None = None
    success: SuccessRule | None = None
    on_lost: OnLost | None = None
    reuse: Reuse | None = None
    network: NetworkMode | None = None
    allow: tuple[str, ...] | None = None


class Rollback(Sent):
    """Where to go back to: a revision; without it the newest one with another package."""

    to: int | None = Field(default=None, ge=1, le=2**53)


class Finding(Shown):
    """Something to know about a package."""

    level: archive.Level
    code: str
    message: str
    entry: str | None


def findings(found: Sequence[archive.Finding]) -> list[Finding]:
    """All of them."""
    return [Finding.model_validate(finding) for finding in found]


class Saved(BaseModel):
    """A task as saved, with what its author should know."""

    task: Task
    warnings: list[str]
    findings: list[Finding]


class Revision(BaseModel):
    """One state of a task."""

    revision: int
    at: datetime
    by: str
    why: str
    package: str
    package_name: str
    runtime: str
    handler: str

    @classmethod
    def of(cls, was: task.Revision) -> Self:
        """The part that a history shows."""
        return cls(
            revision=was.task.revision,
            at=was.at,
            by=was.by,
            why=was.why,
            package=was.task.package,
            package_name=was.task.package_name,
            runtime=was.task.runtime,
            handler=was.task.handler,
        )


class Bucket(Shown):
    """A bucket and how much is in it."""

    name: str
    objects: int
    size: int
    updated_at: datetime | None


class Artifact(BaseModel):
    """A named object in a bucket; `run` is the run that left it."""

    bucket: str
    key: str
    digest: str
    size: int
    updated_at: datetime
    updated_by: str
    run: str | None

    @classmethod
    def of(cls, artifact: package.Artifact) -> Self:
        """As lists show it."""
        return cls(
            bucket=artifact.bucket,
            key=artifact.key,
            digest=artifact.digest,
            size=artifact.size,
            updated_at=artifact.updated_at,
            updated_by=artifact.updated_by,
            run=artifact.run_id,
        )


class Package(Shown):
    """A checked package."""

    digest: str
    file_name: str
    size: int


class Put(BaseModel):
    """What putting an object did; `package` is there for bucket `tasks` only."""

    artifact: Artifact
    package: Package | None
    findings: list[Finding]
    updated_tasks: list[str]


class DirectorySize(Shown):
    """A top-level directory of a package and all bytes below it."""

    name: str
    unpacked_bytes: int


class Checked(BaseModel):
    """What a look into a package has found."""

    digest: str
    size: int
    entries: int
    unpacked_bytes: int
    findings: list[Finding]
    biggest: list[DirectorySize]
    python_modules: list[str]


class Secret(Shown):
    """A secret without its value."""

    name: str
    hidden: bool
    updated_at: datetime
    updated_by: str

    @classmethod
    def of(cls, kept: secret.Secret) -> Self:
        """As lists show it."""
        return cls(name=kept.name, hidden=kept.hidden, updated_at=kept.updated_at, updated_by=kept.updated_by)


class NewSecret(Sent):
    """A secret's value; a hidden one can be used and replaced but never read again."""

    value: SecretStr
    hidden: bool = False


class SavedSecret(BaseModel):
    """A secret as saved."""

    secret: Secret
    warnings: list[str]


class SecretValue(BaseModel):
    """A secret in clear."""

    value: str


class Interceptor(Shown):
    """A machine that carries out runs."""

    id: str
    name: str
    location: str
    cpu_cores: float
    memory_mb: int
    runtimes: list[str]
    isolation: str
    version: str
    seen_at: datetime
    draining: bool

    @classmethod
    def of(cls, one: fleet.Interceptor) -> Self:
        """As lists show it."""
        return cls.model_validate(one)


class Runtime(BaseModel):
    """A runtime, and the names of the interceptors that have it."""

    id: str
    interceptors: list[str]


class LogLine(Shown):
    """A line of a run's log."""

    attempt: int
    seq: int
    at: datetime
    stream: logs.Stream
    level: logs.Level | None
    text: str
