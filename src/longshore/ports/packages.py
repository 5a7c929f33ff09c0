# SPDX-License-Identifier: Apache-2.0
"""Packages as files: is this archive safe and sensible, and give me its files.

What has passed `inspect` unpacks to the same files everywhere; what would not is refused. Nothing in a
package is ever imported or run here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from longshore.domain.archive import Inspection


class Archives(Protocol):
    """A reader of zips and jars that do not trust their makers."""

    async def inspect(
        self, path: Path, *, handler: str | None, python: tuple[int, int] | None = None
    ) -> Inspection:
        """Check every name, size and checksum of an archive, and look whether this Python handler can work.

        `python` is the version that will really run it; None where that is unknown, and then nothing that
        depends on it is said. Give no handler for other runtimes. Raises BadPackage naming the entry,
        PackageTooLarge (also a TooLarge) for too many unpacked bytes. A handler that is not there is a
        finding, never an error.
        A hostile archive costs at most some seconds of one core, and never the caller's memory.
        """
        ...

    async def unpack(self, path: Path, into: Path, *, compile_with: Sequence[str] | None = None) -> None:
        """Make `into` a directory with the archive's files: all of them at once, or nothing.

        The directory above `into` must exist; `into` must not (Conflict). `compile_with` is the command of a
        Python interpreter that writes bytecode beside the sources, for a read-only mount that starts fast;
        files that do not compile are left as they are. Raises BadPackage, OutOfSpace, Unavailable.
        """
        ...
