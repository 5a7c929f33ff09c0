# SPDX-License-Identifier: Apache-2.0
"""Bytes by their digest: packages, artifacts, large results. What has been kept never changes."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from longshore.domain.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Bytes that have arrived on this machine's disk but are not kept yet."""

    path: Path
    digest: Digest
    size: int


class Blobs(Protocol):
    """A store of immutable bytes. Keeping the same bytes twice is harmless."""

    def stage(self, stream: AsyncIterator[bytes], *, limit: int) -> AbstractAsyncContextManager[Staged]:
        """Write a stream to a temporary file, hashing it; the file is gone at the end unless it was kept.

        Raises TooLarge at the first byte past `limit`, OutOfSpace when the disk is full.
        """
        ...

    async def keep(self, staged: Staged) -> None:
        """Make staged bytes durable and readable under their digest, atomically."""
        ...

    async def size(self, digest: Digest) -> int:
        """How many bytes; raises NotFound."""
        ...

    def read(self, digest: Digest, *, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes from `start` on, in pieces of at most 1 MiB; raises NotFound at the first piece."""
        ...

    async def forget(self, digest: Digest) -> None:
        """Drop them; forgetting what is not there is harmless."""
        ...
