# SPDX-License-Identifier: Apache-2.0
"""The machine's cache of packages, unpacked and compiled, by digest. And the inputs of runs.

<home>/code/<digest>     an unpacked package, read-only to everyone
<home>/inputs/<digest>   an input's bytes
"""

import asyncio
import contextlib
import hashlib
import os
import platform
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from longshore.domain.errors import BadPackage, Conflict, Unavailable
from longshore.domain.ids import Digest
from longshore.domain.order import Lease
from longshore.interceptor.abi import mismatch
from longshore.ports.link import Link
from longshore.ports.packages import Archives


@dataclass(frozen=True, slots=True)
class PackageCache:
    """Fetches through the Link once, verifies, unpacks."""

    home: Path
    archives: Archives
    compile_with: tuple[str, ...]
    _locks: dict[Digest, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _misfits: dict[tuple[Digest, tuple[int, int]], str | None] = field(default_factory=dict)
    _libraries: dict[Digest, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("code", "inputs", "incoming"):
            (self.home / name).mkdir(parents=True, exist_ok=True, mode=0o711)

    def _lock(self, digest: Digest) -> AbstractAsyncContextManager[None]:
        return self._locks[digest]

    async def code(self, link: Link, lease: Lease, digest: Digest) -> Path:
        """The directory of a package, fetched and unpacked if it is not here yet."""
        target = self.home / "code" / digest
        async with self._lock(digest):
            if not target.exists():
                archive = await self._fetched(link.fetch(lease, digest), digest)
                try:
                    await self.archives.unpack(archive, target, compile_with=self.compile_with)
                except Conflict:
                    pass  # another process was quicker; what it unpacked has the same digest
                finally:
                    archive.unlink(missing_ok=True)
        return target

    async def must_fit(self, digest: Digest, python: tuple[int, int]) -> None:
        """Raise BadPackage when a library of a package that is here cannot work on this machine's Python."""
        key = (digest, python)
        if key not in self._misfits:
            where = self.home / "code" / digest
            self._misfits[key] = await asyncio.to_thread(mismatch, where, python, platform.machine())
        why = self._misfits[key]
        if why is not None:
            raise BadPackage(why)

    def brings_libraries(self, digest: Digest) -> bool:
        """Whether a package that is here has shared libraries where the loader looks for them. It looks once,
        when an interpreter starts: one that has started without the package would never find them."""
        if digest not in self._libraries:
            where = self.home / "code" / digest
            self._libraries[digest] = any(_is_library(name) for name in _names(where, where / "lib"))
        return self._libraries[digest]

    async def input(self, link: Link, lease: Lease, digest: Digest) -> Path:
        """A file with an input's bytes."""
        target = self.home / "inputs" / digest
        async with self._lock(digest):
            if not target.exists():
                arrived = await self._fetched(link.fetch(lease, digest), digest)
                arrived.chmod(0o444)
                arrived.rename(target)
        return target

    async def _fetched(self, pieces: AsyncIterator[bytes], digest: Digest) -> Path:
        """The bytes in a temporary file; raises Unavailable when they are not the ones of the digest."""
        handle, name = tempfile.mkstemp(prefix=digest[:12], dir=self.home / "incoming")
        try:
            with os.fdopen(handle, "wb") as file:
                _verify(await _written(pieces, file), digest)
        except BaseException:
            os.unlink(name)
            raise
        return Path(name)


def _names(*directories: Path) -> Iterator[str]:
    for directory in directories:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from os.listdir(directory)


def _is_library(name: str) -> bool:
    """Modules for Python's own import are not looked for by the loader."""
    is_module = ".cpython-" in name or name.endswith(".abi3.so")
    return (name.endswith(".so") or ".so." in name) and not is_module


async def _written(pieces: AsyncIterator[bytes], file: BinaryIO) -> str:
    """Write the pieces; the sha256 of what was written."""
    seen = hashlib.sha256()
    async for piece in pieces:
        seen.update(piece)
        file.write(piece)
    return seen.hexdigest()


def _verify(arrived: str, digest: Digest) -> None:
    if arrived != digest:
        raise Unavailable(f"what arrived for {digest} is damaged: its sha256 is {arrived}")
