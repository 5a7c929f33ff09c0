# SPDX-License-Identifier: Apache-2.0
"""127.0.0.1:9002 of the machine itself, for handlers that have no network of their own (mode host, no walls).

They all share it, so whoever comes is told from the others: by the user whom the kernel says the connection
belongs to, where each cell has one of its own; else by the word that stands for the token of their run.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from longshore.interceptor.doors import Doors
from longshore.interceptor.platform_door import Head, PlatformDoor, heard, refuse
from longshore.ports.sandbox import PLATFORM_PORT

_CONNECTIONS = Path("/proc/net/tcp")


@dataclass(slots=True)
class SharedDoor:
    """Open while anybody needs it, and to nobody else."""

    port: int = PLATFORM_PORT
    _cells: list[PlatformDoor] = field(default_factory=list)
    _socket: socket.socket | None = None
    _doors: Doors = field(default_factory=Doors)

    async def enter(self, cell: PlatformDoor) -> str | None:
        """Serve a cell's handler here, too; the sentence that says why it cannot be."""
        if cell in self._cells:
            return None
        if self._socket is None:
            try:
                self._socket = socket.create_server(("127.0.0.1", self.port), backlog=64)
            except OSError as error:
                return (
                    f"the platform is not at 127.0.0.1:{self.port} for this run, which has the network of its"
                    f" machine ({error.strerror}); LONGSHORE_URL says where it is"
                )
            self.port = self._socket.getsockname()[1]
            await self._doors.open(self._socket, self._behind)
        self._cells.append(cell)
        return None

    async def leave(self, cell: PlatformDoor) -> None:
        """Serve it no more. The last one closes the door."""
        if cell not in self._cells:
            return
        self._cells.remove(cell)
        if not self._cells and self._socket is not None:
            self._socket.close()
            self._socket = None
            await self._doors.close()

    async def _behind(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        runs = {cell: cell.run for cell in self._cells}
        host, port = writer.get_extra_info("peername")[:2]
        user = owner(host, port, self.port)
        head = await heard(reader, writer)
        if head is None:
            return
        cell = self._whose(head, user)
        if cell is None:
            detail = "this door is for handlers; they bring what is in their LONGSHORE_TOKEN"
            await refuse(reader, writer, 401, "Unauthorized", detail)
        elif cell.run is None or cell.run is not runs.get(cell):
            await refuse(reader, writer, 403, "Forbidden", "no run is under way in this sandbox")
        else:
            await cell.serve(head, reader, writer, is_its=cell.user == user)

    def _whose(self, head: Head, user: int | None) -> PlatformDoor | None:
        known = [cell for cell in self._cells if cell.user is not None and cell.user == user]
        return next(iter([*known, *(cell for cell in self._cells if cell.knows(head))]), None)


def owner(host: str, port: int, to_port: int) -> int | None:
    """The user whom a connection from our own loopback belongs to."""
    with contextlib.suppress(OSError, ValueError):
        ours = f"{_written(host)}:{port:04X}"
        theirs = f"{_written('127.0.0.1')}:{to_port:04X}"
        return _owner(_CONNECTIONS.read_text(encoding="ascii").splitlines()[1:], ours, theirs)
    return None


def _owner(lines: Iterable[str], ours: str, theirs: str) -> int | None:
    for line in lines:
        words = line.split()
        if words[1:3] == [ours, theirs]:
            return int(words[7])
    return None


def _written(host: str) -> str:
    """As the kernel writes it: the bytes in the order of this processor."""
    packed = ipaddress.IPv4Address(host).packed
    return f"{int.from_bytes(packed, 'little' if socket.htons(1) != 1 else 'big'):08X}"
