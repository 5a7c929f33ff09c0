# SPDX-License-Identifier: Apache-2.0
"""The machine's clock."""

from datetime import UTC, datetime


class SystemClock:
    """Implements ports.clock.Clock."""

    def now(self) -> datetime:
        """The machine's time."""
        return datetime.now(UTC)
