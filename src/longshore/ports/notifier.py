# SPDX-License-Identifier: Apache-2.0
"""Telling others what has happened."""

from collections.abc import AsyncIterator
from typing import Protocol

from longshore.domain.events import RunChanged
from longshore.domain.ids import ProjectId


class Notifier(Protocol):
    """Fan-out of events inside the control plane. Never raises into a run and never waits for a listener."""

    def notify(self, event: RunChanged) -> None:
        """Tell everyone who listens. A listener that is too slow loses the oldest."""
        ...

    def listen(self, project: ProjectId | None = None) -> AsyncIterator[RunChanged]:
        """What happens from now on, of one project or of all."""
        ...
