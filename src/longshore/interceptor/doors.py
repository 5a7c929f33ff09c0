# SPDX-License-Identifier: Apache-2.0
"""Doors in a cell that lead to exactly one host:port each, connected by us from outside.

Listening sockets come from the cell; whatever connects there is carried to the pair and back, byte by byte.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import structlog

from longshore.domain.errors import Forbidden
from longshore.domain.network import Address, is_close

MOST_CONNECTIONS = 64
PIECE_BYTES = 64 * 1024
CONNECT_WITHIN_S = 10.0
AGAIN_AFTER_S = 1.0
_NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = structlog.get_logger()


Behind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What becomes of somebody who has come in. The door is closed behind them afterwards."""


@dataclass(slots=True)
class Doors:
    """The open doors of one cell, and who is inside. More than `MOST_CONNECTIONS` at once are turned away;
    each holds a few pieces of `PIECE_BYTES` on their way."""

    _doors: list[socket.socket] = field(default_factory=list)
    _unseen: set[socket.socket] = field(default_factory=set)
    _inside: set["asyncio.Task[None]"] = field(default_factory=set)

    def open(self, door: socket.socket, admit: Callable[[], Behind]) -> None:
        """Begin to accept at a listening socket, which stays its owner's. `admit` is asked in the moment in
        which somebody comes in."""
        own = door.dup()
        own.setblocking(False)
        self._doors.append(own)
        asyncio.get_running_loop().add_reader(own.fileno(), self._arrived, own, admit)

    def _arrived(self, door: socket.socket, admit: Callable[[], Behind]) -> None:
        for one in self._waiting(door, admit):
            if len(self._inside) >= MOST_CONNECTIONS:
                one.close()
                continue
            self._unseen.add(one)
            task = asyncio.get_running_loop().create_task(self._received(one, admit()))
            self._inside.add(task)
            task.add_done_callback(partial(self._left, one))

    def _left(self, one: socket.socket, task: "asyncio.Task[None]") -> None:
        self._inside.discard(task)
        if one in self._unseen:  # cut before they were received
            self._unseen.discard(one)
            one.close()

    def _waiting(self, door: socket.socket, admit: Callable[[], Behind]) -> Iterator[socket.socket]:
        """Who is at the door now. Where there is no descriptor for them they have to wait a moment."""
        with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionAbortedError):
            while True:
                try:
                    one, _ = door.accept()
                except OSError as error:
                    if error.errno not in _NO_MORE:
                        raise
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(door.fileno())
                    loop.call_later(AGAIN_AFTER_S, self._again, door, admit)
                    return
                yield one

    def _again(self, door: socket.socket, admit: Callable[[], Behind]) -> None:
        if door.fileno() >= 0:
            asyncio.get_running_loop().add_reader(door.fileno(), self._arrived, door, admit)

    async def _received(self, one: socket.socket, behind: Behind) -> None:
        self._unseen.discard(one)
        loop = asyncio.get_running_loop()
        one.setblocking(False)
        reader = asyncio.StreamReader(limit=PIECE_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, one)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await behind(reader, writer)
            await closed(writer)
        except asyncio.CancelledError:
            pass  # whoever does not listen any more, or is held still, must not keep us
        finally:
            transport.abort()

    def turn_away(self) -> None:
        """Those who are at a door and have not been let in."""
        for door in self._doors:
            with contextlib.suppress(OSError):
                while True:
                    door.accept()[0].close()

    def cut(self) -> None:
        """End what goes on; the doors stay open."""
        for task in self._inside:
            task.cancel()

    async def close(self) -> None:
        """Accept no more, end what goes on, and wait for it."""
        loop = asyncio.get_running_loop()
        for door in self._doors:
            loop.remove_reader(door.fileno())
            door.close()
        self._doors.clear()
        self.cut()
        await asyncio.gather(*self._inside, return_exceptions=True)


def leads_to(pair: Address) -> Callable[[], Behind]:
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

    return lambda: behind


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
