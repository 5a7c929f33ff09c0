# SPDX-License-Identifier: Apache-2.0
"""What waits at the doors of a cell that is empty: calls that nobody took, output that nobody read."""

import contextlib
import os
import socket

CHUNK_BYTES = 65536


def turn_away(listening: socket.socket) -> None:
    """Hang up on those who were never answered. Raises OSError."""
    listening.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()


def drain(pipe: int) -> None:
    """Read a pipe, which does not block, until it is empty. Raises OSError."""
    with contextlib.suppress(BlockingIOError):
        while os.read(pipe, CHUNK_BYTES):
            pass
