# SPDX-License-Identifier: Apache-2.0
"""Room that is kept for the day the disk is full.

A full disk refuses whatever the database writes, a DELETE as well, and with it the end of every run. So a
file lies beside the database that nobody needs. When the disk is full it goes, and what is under way can be
finished and cleared away; new runs are refused until there is room for the file again.
"""

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

BALLAST_BYTES = 64 * 1024 * 1024
ENOUGH_BYTES = 2 * BALLAST_BYTES
"""With this much free the disk is not full any more; on a small disk a quarter of it will do."""
LOOK_EVERY_S = 1.0
_log = structlog.get_logger()


@dataclass(slots=True)
class Ballast:
    """The file of one database. `is_short`: the disk was full, and nobody has made room since."""

    path: Path
    is_short: bool = False
    _looked_at: float = 0.0

    def take(self) -> None:
        """Have the file where there is room enough; a disk without stays without."""
        try:
            if self.path.exists() or shutil.disk_usage(self.path.parent).free < ENOUGH_BYTES:
                return
            number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(number, 0, BALLAST_BYTES)
            finally:
                os.close(number)
        except OSError as error:
            _log.warning("no room is kept for a full disk", path=str(self.path), reason=str(error))
            self._remove()

    def drop(self) -> bool:
        """The disk is full: let go of the file; whether there was one to let go of."""
        self.is_short = True
        if not self._remove():
            return False
        _log.error("the disk is full: the room that was kept goes to the database", path=str(self.path))
        return True

    def look(self) -> None:
        """While room is short, look once a second whether somebody has made some."""
        now = time.monotonic()
        if not self.is_short or now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        disk = shutil.disk_usage(self.path.parent)
        if disk.free >= min(ENOUGH_BYTES, disk.total // 4):
            self.take()
            self.is_short = False
            _log.info("there is room on the disk again", path=str(self.path))

    def _remove(self) -> bool:
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False
