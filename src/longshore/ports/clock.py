# SPDX-License-Identifier: Apache-2.0
"""The time of day."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time; durations are measured by time.monotonic where they arise."""

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        ...
