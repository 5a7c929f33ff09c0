# SPDX-License-Identifier: Apache-2.0
"""Empties a directory that a handler has filled, without trusting a single entry of it."""

import asyncio
import errno
import os
import stat

MOST_ENTRIES = 50_000
DEEPEST = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


async def empty(directory: int) -> None:
    """Remove all that is in it. Raises OSError where something resists, is too deep or too much: what is
    left is then a matter for whoever throws the whole away."""
    if os.listdir(directory):
        await asyncio.to_thread(_emptied, os.dup(directory))


def _emptied(own: int) -> None:
    """The directory's number may be somebody else's before the thread is through, its own is not."""
    try:
        _empty(own, [MOST_ENTRIES], DEEPEST)
    finally:
        os.close(own)


def _empty(directory: int, left: list[int], depth: int) -> None:
    for name in os.listdir(directory):
        left[0] -= 1
        if not left[0] or not depth:
            raise OSError(errno.EMFILE, "there is too much in it")
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            _remove(directory, name, left, depth - 1)
        else:
            os.unlink(name, dir_fd=directory)


def _remove(directory: int, name: str, left: list[int], depth: int) -> None:
    number = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{number}", 0o700)
        inside = os.open(".", _DIRECTORY, dir_fd=number)
        try:
            _empty(inside, left, depth)
        finally:
            os.close(inside)
    finally:
        os.close(number)
    os.rmdir(name, dir_fd=directory)
