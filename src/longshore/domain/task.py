# SPDX-License-Identifier: Apache-2.0
"""A task: a handler with its package, limits and parameters. Every change makes a new revision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from longshore.domain.errors import Forbidden, Invalid
from longshore.domain.ids import Digest, ProjectId, TaskId
from longshore.domain.names import checked
from longshore.domain.network import Network, NetworkMode, address, checked_allow
from longshore.domain.parameters import Parameter
from longshore.domain.project import Actor, Scope

DEFAULT_LOCATION = "default"
RESERVED_ENVIRONMENT = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "OUTPUT_DIR",
        "INPUT_DIR",
        "LONGSHORE_PROJECT",
        "LONGSHORE_RUN_ID",
        "LONGSHORE_TOKEN",
        "LONGSHORE_URL",
        "task_parameters",
    }
)
MAX_ENVIRONMENT_BYTES = 4096


class SuccessRule(StrEnum):
    """What makes a run succeeded once its handler has returned. It never touches the result itself."""

    ANY_RETURN = "any_return"
    STATUS_CODE = "status_code"
    """statusCode 2xx if the result is an object that has one; any return otherwise."""


class OnLost(StrEnum):
    """What happens to a run that had started when its interceptor was lost."""

    GIVE_UP = "give_up"
    RUN_AGAIN = "run_again"


class Reuse(StrEnum):
    """Whether the environment of a run that ended well serves the task's next one."""

    AUTO = "auto"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may take. `cpus` may be a fraction; `timeout_s` counts from the handler's start."""

    cpus: float = 1.0
    memory_mb: int = 1024
    disk_mb: int = 512
    timeout_s: float = 300.0
    pids: int = 512

    def checked(self) -> "Limits":
        """These limits, or Invalid with the range of the first one that is out of it."""
        for name, unit, low, high in (
            ("cpus", "cores", 0.1, 256),
            ("memory_mb", "MB", 64, 1_048_576),
            ("disk_mb", "MB", 1, 1_048_576),
            ("timeout_s", "seconds", 0.1, 7 * 86_400),
            ("pids", "processes", 16, 32_768),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise Invalid(f"{name} is {value:.10g}; it takes {low:g} to {high:.10g} {unit}", field=name)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task as it is now. `package_name` is the key in bucket `tasks` whose new content updates it."""

    id: TaskId
    project_id: ProjectId
    name: str
    description: str = ""
    runtime: str
    handler: str
    package_name: str
    package: Digest
    limits: Limits = field(default_factory=Limits)
    parameters: tuple[Parameter, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    location: str = DEFAULT_LOCATION
    success: SuccessRule = SuccessRule.STATUS_CODE
    on_lost: OnLost = OnLost.GIVE_UP
    reuse: Reuse = Reuse.AUTO
    network: NetworkMode = NetworkMode.EGRESS
    allow: tuple[str, ...] = ()
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    updated_by: str

    def checked(self) -> "Task":
        """This task, or Invalid naming the first field that cannot be."""
        checked("task", self.name)
        checked("location", self.location, field="location")
        if not self.handler.strip() or len(self.handler) > 128 or any(ord(c) < 32 for c in self.handler):
            raise Invalid(
                f"{self.handler[:80]!r} is not a handler: it takes file.function, such as"
                " lambda_function.lambda_handler",
                field="handler",
            )
        self.limits.checked()
        names = [parameter.checked().name for parameter in self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"the parameter {name} is declared twice", field="parameters")
        check_environment(self.environment)
        if checked_allow(self.allow) != self.allow:
            raise Invalid("an allowed address is written in two ways or given twice", field="allow")
        return self

    @property
    def reach(self) -> Network:
        """What its runs reach."""
        return Network(self.network, tuple(address(text) for text in self.allow))

    def check_may_save(self, actor: Actor, *, before: "Task | None" = None) -> None:
        """Raise Forbidden for what opens the machine itself to the task's code, unless an admin saves it: its
        network (then with each new package too), or an address of its loopback that was not allowed yet."""
        if actor.may(Scope.ADMIN):
            return
        if self.network is NetworkMode.HOST:
            raise Forbidden(
                f"the task {self.name} has the network of its machine (network: host); saving it, its package"
                " too, takes the role admin"
            )
        for text in self.allow:
            if address(text).is_close and (before is None or text not in before.allow):
                raise Forbidden(f"{text} is on the machine that runs it; allowing that takes the role admin")


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise Invalid for a name that is reserved or malformed, or for more than 4 KB in all."""
    for name, value in environment.items():
        checked("environment variable", name, field="environment")
        if name in RESERVED_ENVIRONMENT:
            raise Invalid(f"the environment variable {name} is set by the platform", field="environment")
        if any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in value):
            raise Invalid(
                f"the environment variable {name} has a NUL byte or half a character", field="environment"
            )
    size = sum(len(name.encode()) + len(value.encode()) for name, value in environment.items())
    if size > MAX_ENVIRONMENT_BYTES:
        raise Invalid(
            f"the environment variables take {size} bytes; at most {MAX_ENVIRONMENT_BYTES} fit",
            field="environment",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One entry of a task's history: what it was from then on, why and by whom."""

    task: Task
    at: datetime
    by: str
    why: str
