# SPDX-License-Identifier: Apache-2.0
"""Our end of the conversation with a launcher; `runtime_api/bootstrap/launcher.py` has the other.

Once a handler runs, whoever speaks at the other end may be the handler itself: what does not look as agreed
ends the conversation, and no descriptor is taken after the first frame.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from longshore.domain.errors import Invalid, Unavailable

LONGEST_FRAME = 4096
SEND_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What a launcher hands over: the doors of its Runtime API and the platform, the directory of /output."""

    runtime_api: socket.socket
    platform: socket.socket
    output: int

    def addresses(self) -> Mapping[str, str]:
        """Variables that say where the doors are, for cells whose doors are anywhere."""
        runtime_api, platform = (door.getsockname()[1] for door in (self.runtime_api, self.platform))
        return {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime_api}",
            "LONGSHORE_URL": f"http://127.0.0.1:{platform}",
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The end of the runtime's process: its wait status, the most memory it held, its processor time."""

    status: int
    peak_bytes: int
    cpu_ms: float


class Control:
    """`ready`, `prepared`, `report` and `ended` come true once, all but the first again after `begin_anew`;
    None or False there means that the launcher fell silent before."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._heard = b""
        self.ready: asyncio.Future[Ready | None] = self._loop.create_future()
        self._begin()
        self._loop.add_reader(end.fileno(), self._hear)

    def _begin(self) -> None:
        self._ending = False
        self.report: asyncio.Future[Report | None] = self._loop.create_future()
        self.prepared: asyncio.Future[bool] = self._loop.create_future()
        self.ended: asyncio.Future[bool] = self._loop.create_future()

    def begin_anew(self) -> None:
        """From here on it is about another runtime. Raises Unavailable when the launcher has gone."""
        if self._end.fileno() < 0:
            raise Unavailable("the sandbox's launcher is not there any more")
        self._begin()

    async def prepare(self) -> None:
        """Have another runtime wait for its handler."""
        await self._say("prepare")

    async def start(self, environment: Mapping[str, str], handler: str) -> None:
        """Have the runtime started, or give the one that waits its handler."""
        pairs = [f"{name}={value}" for name, value in environment.items()]
        odd = [name for name in environment if not name or "=" in name]
        if odd or any("\0" in word for word in (handler, *pairs)):
            raise Invalid(
                f"the handler and variables of a run hold no NUL, their names no '=' {odd or ''}".strip()
            )
        await self._say("start", handler, *pairs)

    async def terminate(self) -> None:
        """Have SIGTERM sent to the runtime; harmless when the launcher has gone."""
        with contextlib.suppress(Unavailable):
            await self._say("terminate")

    async def end(self) -> bool:
        """Have all but the launcher killed; whether nobody else is left."""
        self._ending = True
        await self._say("end")
        return await self.ended

    def close(self) -> None:
        """Hang up."""
        if self._end.fileno() >= 0:
            self._loop.remove_reader(self._end.fileno())
            self._end.close()
        for future in (self.ready, self.report):
            if not future.done():
                future.set_result(None)
        for answer in (self.prepared, self.ended):
            if not answer.done():
                answer.set_result(False)

    async def _say(self, *fields: str) -> None:
        payload = "\0".join(fields).encode("utf-8", "surrogateescape")
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._loop.sock_sendall(self._end, len(payload).to_bytes(4, "big") + payload)
        except (OSError, TimeoutError) as error:
            raise Unavailable("the sandbox's launcher is not there any more") from error

    def _hear(self) -> None:
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._heard += data
        if not data or not self._take_frames():
            self.close()

    def _receive(self) -> bytes:
        if self.ready.done():
            return self._end.recv(LONGEST_FRAME)
        data, numbers, _, _ = socket.recv_fds(self._end, LONGEST_FRAME, 3)
        if len(numbers) == 3:
            runtime_api, platform = (socket.socket(fileno=number) for number in numbers[:2])
            self.ready.set_result(Ready(runtime_api, platform, numbers[2]))
        else:
            for number in numbers:
                os.close(number)
        return data

    def _take_frames(self) -> bool:
        while len(self._heard) >= 4:
            size = int.from_bytes(self._heard[:4], "big")
            if size > LONGEST_FRAME:
                return False
            if len(self._heard) < 4 + size:
                return True
            frame, self._heard = self._heard[4 : 4 + size], self._heard[4 + size :]
            if not self._take(frame.split(b"\0")):
                return False
        return True

    def _take(self, fields: list[bytes]) -> bool:
        if fields == [b"ready"]:
            return self.ready.done()
        if fields == [b"prepared"]:
            if not self.prepared.done():
                self.prepared.set_result(True)
            return True
        if fields == [b"ended"]:  # after the end of its runtime, and only when asked
            if not self._ending or self.ended.done() or not self.report.done():
                return False
            self.ended.set_result(True)
            return True
        if fields[0] != b"exit" or len(fields) != 4 or self.report.done():
            return False
        if not all(field.isdigit() and len(field) < 16 for field in fields[1:]):
            return False
        status, peak, cpu = (int(field) for field in fields[1:])
        if status > 0xFFFF or not (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            return False
        self.report.set_result(Report(status, peak * 1024, cpu / 1000))
        return True
