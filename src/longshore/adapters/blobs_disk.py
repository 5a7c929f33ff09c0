# SPDX-License-Identifier: Apache-2.0
"""Bytes by their digest, as files.

    <root>/ab/ab12...        kept, under all 64 digits of their sha256
    <root>/incoming/<name>   on their way in, each locked (flock) by the process that writes it

A lock ends with its process, however that ended. So a new process knows leftovers of a killed one from
uploads of a living one at once, without a guess by age.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from longshore.adapters.disk import disk_errors, in_thread, leave_room, sync_directory, write_all
from longshore.domain.errors import Conflict, NotFound, TooLarge
from longshore.domain.ids import Digest
from longshore.ports.blobs import Staged

PIECE_BYTES = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DiskBlobs:
    """Implements ports.blobs.Blobs on a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        with disk_errors(f"use {root}"):
            self._incoming.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self._incoming)

    @contextlib.asynccontextmanager
    async def stage(self, stream: AsyncIterator[bytes], *, limit: int) -> AsyncIterator[Staged]:
        """Write to a file in `incoming`, 1 MiB at a time in a thread, so that memory stays flat and the
        event loop free."""
        with disk_errors("keep what is being sent"):
            arriving = _Arriving(self._incoming)
        try:
            yield await _arrived(arriving, stream, limit)
        finally:
            await in_thread(arriving.close)

    async def keep(self, staged: Staged) -> None:
        """The content is on disk before its name is, and the name before this returns."""
        with disk_errors("keep what was sent"):
            await in_thread(self._keep, staged)

    def _keep(self, staged: Staged) -> None:
        target = self._path(staged.digest)
        try:
            fd = os.open(staged.path, os.O_RDONLY)
        except FileNotFoundError:
            if target.exists():
                return
            raise Conflict(f"the bytes {staged.digest} were dropped before they were kept") from None
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            sync_directory(self._root)
        staged.path.replace(target)
        sync_directory(target.parent)

    async def size(self, digest: Digest) -> int:
        """By the file's size."""
        with disk_errors("look up bytes"), _found(digest):
            return (await in_thread(self._path(digest).stat)).st_size

    async def read(self, digest: Digest, *, start: int = 0) -> AsyncIterator[bytes]:
        """From an open file: bytes that are forgotten meanwhile are read to their end."""
        with disk_errors("read bytes"), _found(digest):
            file = self._path(digest).open("rb", buffering=0)
        with file:
            file.seek(start)
            while piece := await self._piece(file.fileno()):
                yield piece

    async def _piece(self, fd: int) -> bytes:
        with disk_errors("read bytes"):
            return await in_thread(os.read, fd, PIECE_BYTES)

    async def forget(self, digest: Digest) -> None:
        """Remove the file."""
        with disk_errors("drop bytes"), contextlib.suppress(NotFound):
            await in_thread(self._path(digest).unlink, missing_ok=True)

    def _path(self, digest: Digest) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest[:80]!r} is not a digest: it takes 64 lower-case hexadecimal digits")
        return self._root / digest[:2] / digest


@contextlib.contextmanager
def _found(digest: Digest) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there are no bytes with the digest {digest}") from None


class _Arriving:
    """A locked file that grows and is hashed on its way."""

    def __init__(self, directory: Path) -> None:
        self.path, self._fd = _locked_file(directory)
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append. To be called in a thread."""
        content = b"".join(pieces)
        self._hash.update(content)
        leave_room(self._fd, len(content))
        write_all(self._fd, content, self.size)
        self.size += len(content)

    def staged(self) -> Staged:
        """What has arrived."""
        return Staged(path=self.path, digest=Digest(self._hash.hexdigest()), size=self.size)

    def close(self) -> None:
        """Remove the file, unless it was kept and so has another name."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)


async def _arrived(arriving: _Arriving, stream: AsyncIterator[bytes], limit: int) -> Staged:
    pieces: list[bytes] = []
    waiting = 0
    async for piece in stream:
        if arriving.size + waiting + len(piece) > limit:
            raise TooLarge(f"more than {limit:,} bytes were sent; that is the limit")
        pieces.append(piece)
        waiting += len(piece)
        if waiting >= PIECE_BYTES:
            await _add(arriving, pieces)
            pieces, waiting = [], 0
    await _add(arriving, pieces)
    return arriving.staged()


async def _add(arriving: _Arriving, pieces: Sequence[bytes]) -> None:
    with disk_errors("keep what is being sent"):
        await in_thread(arriving.add, pieces)


def _locked_file(directory: Path) -> tuple[Path, int]:
    """A new file with a lock on it. Between the two steps somebody who starts may take it for a leftover:
    then it has no name any more, and the next one is tried."""
    while True:
        path = directory / secrets.token_hex(16)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)


def _remove_leftovers(directory: Path) -> None:
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                continue
            finally:
                os.close(fd)
