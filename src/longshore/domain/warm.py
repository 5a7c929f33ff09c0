# SPDX-License-Identifier: Apache-2.0
"""Who may follow whom in one environment: runs that are alike in everything but their event."""

from dataclasses import dataclass

from longshore.domain.ids import Digest, ProjectId
from longshore.domain.network import Network
from longshore.domain.task import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmKey:
    """Two runs of one key may share an environment, one after the other; two projects never have one key.

    `fingerprint` is a hash of the handler, the environment and the secrets: they differ when it differs, and
    nobody learns them from it.
    """

    project_id: ProjectId
    task: str
    revision: int
    package: Digest
    runtime: str
    limits: Limits
    network: Network
    fingerprint: bytes

    def replaces(self, other: "WarmKey") -> bool:
        """Whether an environment of another key of the same task has had its day."""
        same = (self.project_id, self.task) == (other.project_id, other.task)
        return same and self != other and self.revision >= other.revision
