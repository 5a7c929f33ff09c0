# SPDX-License-Identifier: Apache-2.0
"""Doors in a cell that lead to exactly one host:port each, connected by us from outside.

Listening sockets come from the cell; whatever connects there is carried to the pair and back, byte by byte.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from longshore.domain.errors import Forbidden
from longshore.domain.network import Address, is_close

MOST_CONNECTIONS = 64
PIECE_BYTES = 64 * 1024
CONNECT_WITHIN_S = 10.0
_log = structlog.get_logger()


Behind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What becomes of somebody who has come in. The door is closed behind them afterwards."""


@dataclass(slots=True)
class Doors:
    """The open doors of one cell, and who is inside. More than `MOST_CONNECTIONS` at once are turned away;
    each holds a few pieces of `PIECE_BYTES` on their way."""

    _servers: list[asyncio.Server] = field(default_factory=list)
    _inside: set["asyncio.Task[None]"] = field(default_factory=set)

    async def open(self, door: socket.socket, behind: Behind) -> None:
        """Begin to accept at a listening socket, which stays its owner's."""

        async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(self._inside) >= MOST_CONNECTIONS:
                await closed(writer)
                return
            self._inside.add(task)
            try:
                await behind(reader, writer)
                await closed(writer)
            except asyncio.CancelledError:
                pass  # whoever does not listen any more, or is held still, must not keep us
            finally:
                self._inside.discard(task)
                writer.transport.abort()

        self._servers.append(await asyncio.start_server(arrived, sock=door.dup(), limit=PIECE_BYTES))

    def cut(self) -> None:
        """End what goes on; the doors stay open."""
        for task in self._inside:
            task.cancel()

    async def close(self) -> None:
        """Accept no more, end what goes on, and wait for it."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.cut()
        await asyncio.gather(*self._inside, return_exceptions=True)


def leads_to(pair: Address) -> Behind:
    """A door to exactly this pair. When it does not answer the door closes again."""

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                there, back = await _connected(pair)
        except (OSError, TimeoutError, Forbidden) as error:
            _log.info("an allowed address does not answer", address=str(pair), reason=str(error))
            return
        try:
            await carried(reader, writer, there, back)
            await closed(back)
        finally:
            back.transport.abort()

    return behind


async def carried(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    back: asyncio.StreamWriter,
) -> None:
    """Carry both ways until both have ended, or one has broken off."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pour(reader, back))
            both.create_task(_pour(there, writer))
    except* OSError:
        pass


async def _connected(pair: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A name must not lead to this machine's loopback or the cloud's metadata, whoever answers for it: those
    are allowed by number only."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(pair.host, pair.port, type=socket.SOCK_STREAM)
    if pair.ip is None and any(_leads_home(str(one[4][0])) for one in found):
        raise Forbidden(f"{pair.host} is on this machine or its link; allow it by its number")
    last: OSError = OSError(f"{pair.host} has no address")
    for *_, where in found:
        try:
            return await asyncio.open_connection(str(where[0]), pair.port, limit=PIECE_BYTES)
        except OSError as error:
            last = error
    raise last


def _leads_home(host: str) -> bool:
    return is_close(ipaddress.ip_address(host.partition("%")[0]))


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(PIECE_BYTES):
        sink.write(piece)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close it, however it went."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
