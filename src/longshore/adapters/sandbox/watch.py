# SPDX-License-Identifier: Apache-2.0
"""The memory watch: every 50 ms a look at each live cell, while there is one.

Files in /tmp and /output are memory too, so the kernel's limit is the task's limit plus theirs; between the
two it is we who must notice. Where no cgroup counts, it is we alone.
"""

import asyncio
import contextlib
import time
from typing import Protocol

EVERY_S = 0.05


class Watched(Protocol):
    """Something that can look after itself when reminded."""

    def check(self) -> None:
        """Measure, and act on it."""
        ...


class Watch:
    """Reminds cells. A round that takes long makes the pause longer: at most a tenth of a core goes here."""

    def __init__(self) -> None:
        self._cells: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, cell: Watched) -> None:
        """Begin to look at a cell."""
        self._cells.add(cell)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look())

    def discard(self, cell: Watched) -> None:
        """Look no more."""
        self._cells.discard(cell)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _look(self) -> None:
        while self._cells:
            began = time.monotonic()
            for cell in list(self._cells):
                cell.check()
            await asyncio.sleep(max(EVERY_S, 9 * (time.monotonic() - began)))
        self._task = None
