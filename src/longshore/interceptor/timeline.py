# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes."""

import time
from dataclasses import dataclass, field

from longshore.domain.run import Step


@dataclass(slots=True)
class Watch:
    """Measures the steps of a timeline."""

    steps: list[Step] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def step(self, name: str) -> float:
        """Close a step; its length in milliseconds."""
        now = time.monotonic()
        ms = round((now - self.since) * 1000, 3)
        self.steps.append(Step(name=name, ms=ms))
        self.since = now
        return ms
