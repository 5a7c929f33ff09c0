# SPDX-License-Identifier: Apache-2.0
"""The platform's API as a handler finds it, at 127.0.0.1:9002 of its cell.

One request a connection: its head is read, gets the run's own token where it has none of ours, and goes on to
the server; body and answer are carried as they come. The server says who may do what. The token itself never
comes into the cell: the handler has a word that stands for it, and the word stays when the next run comes.
"""

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from longshore.domain.secret import Plaintext
from longshore.interceptor.doors import CONNECT_WITHIN_S, Doors, closed

HEAD_WITHIN_S = 30.0
LINGER_S = 2.0
OURS = b"lsh_"
_OF_ONE_HOP = frozenset({b"connection", b"proxy-connection", b"keep-alive"})


class BadHead(ValueError):
    """No head of a request as HTTP/1.1 has them."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a request, as bytes."""

    line: bytes
    headers: Sequence[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        """Of a header, by its name in small letters."""
        return [value.strip() for header, value in self.headers if header.lower() == name]

    @property
    def bearer(self) -> bytes | None:
        """The token that it brings, if it is exactly one."""
        given = [value.partition(b" ") for value in self.values(b"authorization")]
        if len(given) != 1 or given[0][0].lower() != b"bearer":
            return None
        return given[0][2].strip()

    def with_token(self, token: str) -> "Head":
        """The same request with this token and no other."""
        others = [pair for pair in self.headers if pair[0].lower() != b"authorization"]
        return Head(self.line, [*others, (b"Authorization", b" Bearer " + token.encode())])

    def alone(self) -> "Head":
        """The same request as the only one of its connection."""
        others = [pair for pair in self.headers if pair[0].lower() not in _OF_ONE_HOP]
        last = b" Upgrade" if self.values(b"upgrade") else b" close"
        return Head(self.line, [*others, (b"Connection", last)])

    def written(self) -> bytes:
        """As it goes on the wire."""
        return b"".join(_lines(self.line, self.headers)) + b"\r\n"


def head_of(raw: bytes) -> Head:
    """A head taken apart; raises BadHead for what could mean two things."""
    line, *rest = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(line.split(b" ")) != 3 or not line.endswith((b"HTTP/1.1", b"HTTP/1.0")):
        raise BadHead("the request's first line is not METHOD target HTTP/1.1")
    headers = []
    for one in rest:
        name, colon, value = one.partition(b":")
        if not colon or not name or name != name.strip() or b"\n" in one or b"\r" in one:
            raise BadHead("a header of the request is not Name: value")
        headers.append((name, value))
    return Head(line, headers)


class Shared(Protocol):
    """A door that several cells share; see shared_door.py."""

    async def enter(self, cell: "PlatformDoor") -> str | None: ...

    async def leave(self, cell: "PlatformDoor") -> None: ...


@dataclass(slots=True, eq=False)
class PlatformDoor:
    """The door to the platform at `url` of one cell, from run to run.

    `word` is what stands for the run's token inside. Where others can reach the door, too, because the cell
    has no network of its own, it is a secret and whoever does not bring it goes on as it came; elsewhere
    whoever comes is the handler, and all but a token of ours stands for the run's: an event's parameter must
    hold something. `user` is the host's user whose processes are this cell's alone, if there is one.
    """

    url: str
    door: socket.socket
    is_private: bool
    user: int | None = None
    shared: Shared | None = None
    word: Plaintext = field(init=False)
    run: Plaintext | None = None
    _doors: Doors = field(default_factory=Doors)
    _guests: set["asyncio.Task[object]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.word = Plaintext("run" if self.is_private else f"run-{secrets.token_urlsafe(32)}")

    async def enter(self) -> tuple[str, ...]:
        """Be found at the door that is shared with others, too, if there is one; a notice says why that
        cannot be. May be called again."""
        why_not = None if self.shared is None else await self.shared.enter(self)
        return () if why_not is None else (why_not,)

    async def open(self) -> None:
        """Begin to accept."""
        await self._doors.open(self.door, self._behind)

    def begin(self, token: Plaintext) -> None:
        """A run begins: who comes from now on comes in its name. The token itself is what tells it from
        others."""
        self.run = token

    def end(self) -> None:
        """The run is over. What it has under way ends here; nobody will take it for the next run's, however
        long it was held still."""
        self.run = None
        self._doors.cut()
        for guest in self._guests:
            guest.cancel()

    async def close(self) -> None:
        """Accept no more."""
        if self.shared is not None:
            await self.shared.leave(self)
        await self._doors.close()

    def knows(self, head: Head) -> bool:
        """Whether a request brings the word."""
        return hmac.compare_digest(head.bearer or b"", self.word.reveal().encode())

    async def serve(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_its: bool
    ) -> None:
        """Forward a request of the run that is under way; `is_its`: of its handler, for sure."""
        guest = asyncio.current_task()
        if guest is None or self.run is None:
            return
        is_foreign = (head.bearer or b"").startswith(OURS)
        if self.knows(head) or (is_its and not is_foreign):
            head = head.with_token(self.run.reveal())
        self._guests.add(guest)
        try:
            await _forward(self.url, head, reader, writer)
        finally:
            self._guests.discard(guest)

    async def _behind(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        run = self.run
        if run is None:
            await refuse(reader, writer, 403, "Forbidden", "no run is under way in this sandbox")
            return
        head = await heard(reader, writer)
        if head is not None and self.run is run:
            await self.serve(head, reader, writer, is_its=self.is_private)


async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Head | None:
    """The head of a request; None where there is none, which was said."""
    try:
        async with asyncio.timeout(HEAD_WITHIN_S):
            return head_of(await reader.readuntil(b"\r\n\r\n")).alone()
    except (asyncio.IncompleteReadError, OSError, TimeoutError):
        return None
    except (asyncio.LimitOverrunError, BadHead) as error:
        await refuse(reader, writer, 400, "Bad Request", str(error))
        return None


async def _forward(url: str, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    place = urlsplit(url)
    secure = ssl.create_default_context() if place.scheme == "https" else None
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            there, back = await asyncio.open_connection(
                place.hostname, place.port or (443 if secure else 80), ssl=secure
            )
    except (OSError, TimeoutError, ValueError):
        await refuse(reader, writer, 502, "Bad Gateway", "the platform does not answer its interceptor")
        return
    try:
        back.write(head.written())
        async with asyncio.TaskGroup() as both:
            sending = both.create_task(_sent(reader, back))
            await _answered(there, writer)
            sending.cancel()
        await closed(back)
        await _lingered(reader, writer)
    except* OSError:
        pass
    finally:
        back.transport.abort()


async def _sent(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    """The body. Its end is in the head or in itself; the sender's half-close says nothing more. A server that
    takes no more of it has answered."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            back.write(piece)
            await back.drain()


async def _answered(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await there.read(65536):
        writer.write(piece)
        await writer.drain()


async def _lingered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hear the sender out before the door closes: what nobody has read would take the answer away from it."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(65536):
                pass


async def refuse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, title: str, detail: str
) -> None:
    """Say no, in HTTP."""
    body = json.dumps({"title": title, "status": status, "detail": detail}).encode()
    head = Head(
        f"HTTP/1.1 {status} {title}".encode(),
        [
            (b"Content-Type", b" application/problem+json"),
            (b"Content-Length", f" {len(body)}".encode()),
            (b"Connection", b" close"),
        ],
    )
    writer.write(head.written() + body)
    with contextlib.suppress(OSError):
        await writer.drain()
        await _lingered(reader, writer)


def _lines(line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    yield line + b"\r\n"
    for name, value in headers:
        yield name + b":" + value + b"\r\n"
