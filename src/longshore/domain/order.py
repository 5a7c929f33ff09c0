# SPDX-License-Identifier: Apache-2.0
"""What travels to a machine: an order (ids and sizes), its lease, and the invocation it redeems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from longshore.domain.ids import Digest, InterceptorId, ProjectId, RunId
from longshore.domain.network import Network
from longshore.domain.run_token import run_token
from longshore.domain.secret import Plaintext
from longshore.domain.task import Limits, Reuse, SuccessRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that a broker ever sees of a run: no code, no event, no secret."""

    run: RunId
    attempt: int
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an interceptor has free right now."""

    cpus: float
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to carry out one attempt of a run until `until`. The fence tells late twins apart."""

    run: RunId
    attempt: int
    holder: InterceptorId
    fence: str
    until: datetime
    limits: Limits

    @property
    def token(self) -> Plaintext:
        """What lets the handler call the platform, for as long as its run is under way."""
        return run_token(self.run, self.fence)


class Phase(StrEnum):
    """How far the holder has come. From USER_CODE on the run counts as started."""

    PREPARING = "preparing"
    USER_CODE = "user_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The answer to a heartbeat: stop, this run is over."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Invocation:
    """What runs, secrets included. Never stored, queued or logged; it has no repr for that reason.

    `environment` holds what the task asks for; the interceptor adds Lambda's own variables. `inputs` maps
    paths below /var/input to the objects to lay there. `masks` are the secret values that must not leave.
    """

    run: RunId
    attempt: int
    project_id: ProjectId
    project: str
    task: str
    revision: int
    runtime: str
    handler: str
    package: Digest
    event: bytes
    limits: Limits
    success: SuccessRule
    reuse: Reuse = Reuse.AUTO
    network: Network = field(default_factory=Network)
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
