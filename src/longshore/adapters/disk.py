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
