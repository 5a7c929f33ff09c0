# SPDX-License-Identifier: Apache-2.0
"""Where runs' logs are written and read."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from longshore.domain.ids import RunId
from longshore.domain.logs import LogLine


class Logbook(Protocol):
    """An append-only log a run. Survives kill -9 up to the last whole line."""

    async def write(self, run: RunId, lines: Sequence[LogLine]) -> None:
        """Append a batch. Lines whose seq was written before are dropped, so sending twice is harmless."""
        ...

    async def last_seq(self, run: RunId) -> int:
        """The highest seq written, 0 for none."""
        ...

    async def close(self, run: RunId) -> None:
        """Nothing will follow: followers end after the last line."""
        ...

    def read(self, run: RunId, *, after: int = 0, follow: bool = False) -> AsyncIterator[Sequence[LogLine]]:
        """Batches of lines with a seq above `after`; with `follow`, until the log is closed.

        The caller says `follow` only for a run that is not over. A slow reader never slows the writer.
        """
        ...

    async def forget(self, run: RunId) -> None:
        """Drop a run's log."""
        ...
