# SPDX-License-Identifier: Apache-2.0
"""The machine's cache of packages, unpacked and compiled, by digest. And the inputs of runs.

<home>/code/<digest>     an unpacked package, read-only to everyone
<home>/seals/<digest>    what it looked like when it was unpacked
<home>/inputs/<digest>   an input's bytes

What an earlier server has left is looked at before it is used, once; what is damaged is fetched again.
"""

import asyncio
import contextlib
import hashlib
import os
import platform
import secrets
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import structlog

from longshore.domain.errors import BadPackage, Conflict, Unavailable
from longshore.domain.ids import Digest
from longshore.domain.order import Lease
from longshore.interceptor import seals
from longshore.interceptor.abi import mismatch
from longshore.ports.link import Link
from longshore.ports.packages import Archives

_log = structlog.get_logger()


class _Damaged(Unavailable):
    """Other bytes have arrived than were asked for."""


@dataclass(frozen=True, slots=True)
class PackageCache:
    """Fetches through the Link once, verifies, unpacks."""

    home: Path
    archives: Archives
    compile_with: tuple[str, ...]
    _locks: dict[Digest, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _misfits: dict[tuple[Digest, tuple[int, int]], str | None] = field(default_factory=dict)
    _libraries: dict[Digest, bool] = field(default_factory=dict)
    _sound: set[Path] = field(default_factory=set)
    """What was unpacked, or looked at, in this server's life."""

    def __post_init__(self) -> None:
        for name in ("code", "inputs", "incoming"):
            (self.home / name).mkdir(parents=True, exist_ok=True, mode=0o711)
        (self.home / "seals").mkdir(exist_ok=True, mode=0o700)
        for left in [*(self.home / "incoming").iterdir(), *(self.home / "code").glob(".*")]:
            _remove(left)  # of a server that was killed: a cache has one server at a time

    def _lock(self, digest: Digest) -> AbstractAsyncContextManager[None]:
        return self._locks[digest]

    async def code(self, link: Link, lease: Lease, digest: Digest) -> Path:
        """The directory of a package, fetched and unpacked if it is not here yet, or not as it was."""
        target, sealed = self.home / "code" / digest, self.home / "seals" / digest
        async with self._lock(digest):
            if not await self._is_sound(target, lambda: seals.holds(target, sealed)):
                archive = await self._fetched(link, lease, digest)
                try:
                    await self.archives.unpack(archive, target, compile_with=self.compile_with)
                except Conflict:
                    pass  # another process was quicker; what it unpacked has the same digest
                finally:
                    archive.unlink(missing_ok=True)
                await asyncio.to_thread(lambda: seals.keep(sealed, seals.seal(target)))
                self._sound.add(target)
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
            if not await self._is_sound(target, lambda: _sha256(target) == digest):
                arrived = await self._fetched(link, lease, digest)
                arrived.chmod(0o444)
                arrived.rename(target)
                self._sound.add(target)
        return target

    async def _is_sound(self, target: Path, looked: Callable[[], bool]) -> bool:
        """Whether it is here as it was; what is not is removed."""
        if self._is_known(target):
            return True
        if await asyncio.to_thread(_kept_if, target, looked):
            self._sound.add(target)
            return True
        return False

    def _is_known(self, target: Path) -> bool:
        return target in self._sound and target.exists()

    async def _fetched(self, link: Link, lease: Lease, digest: Digest) -> Path:
        """The bytes in a temporary file. Those that arrive damaged are asked for once more; raises
        Unavailable when that does not help."""
        try:
            return await self._arrived(link.fetch(lease, digest), digest)
        except _Damaged as error:
            _log.warning("asked for again", reason=error.message)
            return await self._arrived(link.fetch(lease, digest), digest)

    async def _arrived(self, pieces: AsyncIterator[bytes], digest: Digest) -> Path:
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
        raise _Damaged(f"what arrived for {digest} is damaged: its sha256 is {arrived}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept_if(target: Path, looked: Callable[[], bool]) -> bool:
    """Whether it is there and stands the look; if it does not, it is removed."""
    if not target.exists():
        return False
    if looked():
        return True
    _log.warning("damaged in the cache, fetched again", path=str(target))
    _remove(target)
    return False


def _remove(path: Path) -> None:
    """A tree is renamed first: half of it must not stand there if we do not live to remove it all."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = path if path.name.startswith(".") else path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    path.rename(doomed)
    shutil.rmtree(doomed)
