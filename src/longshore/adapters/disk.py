# SPDX-License-Identifier: Apache-2.0
"""What adapters need that write files: a thread to wait in, errors in our words, renames that last."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from longshore.domain.errors import OutOfSpace, Unavailable

LAST_ROOM_BYTES = 64 * 1024 * 1024
P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a worker thread, so that the event loop goes on.

    A cancellation waits for the call to return: what the call uses (a descriptor, a file) may be closed by
    whoever is unwound next.
    """
    call = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({call})
        raise


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn the system's errors into OutOfSpace or Unavailable that say what could not be done."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"cannot {doing}: the disk is full") from error
        raise Unavailable(f"cannot {doing}: {error.strerror or error}") from error


def leave_room(fd: int, size: int) -> None:
    """Raise OSError where so many more bytes would take the last room on the disk of an open file.

    Uploads and logs end there, so that the database can still write how runs ended: the last 64 MB, or a
    quarter of a small disk, are not theirs.
    """
    disk = os.fstatvfs(fd)
    kept = min(LAST_ROOM_BYTES, disk.f_blocks * disk.f_frsize // 4)
    if disk.f_bavail * disk.f_frsize - size < kept:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_all(fd: int, content: bytes, offset: int) -> None:
    """Write every byte at an offset; the system may take less at a time."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_directory(directory: Path) -> None:
    """Make the names in a directory as durable as the files behind them."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
