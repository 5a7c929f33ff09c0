# SPDX-License-Identifier: Apache-2.0
"""The official Python client as a process, served by ours."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from longshore.runtime_api.server import Call, Failure, Response, RuntimeApi

ARN = "arn:aws:lambda:us-east-1:000000000000:function:demo"


def listening() -> socket.socket:
    """A listening socket on a free loopback port."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(64)
    return door


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[RuntimeApi, int]]:
    """A Runtime API and its port."""
    with listening() as door:
        api = RuntimeApi(door)
        await api.start()
        try:
            yield api, door.getsockname()[1]
        finally:
            await api.close()


@dataclass(frozen=True)
class Runtime:
    """awslambdaric with a handler loaded."""

    api: RuntimeApi
    process: asyncio.subprocess.Process

    async def invoke(self, event: bytes, *, request_id: str = "run-1", **more: str) -> Response | Failure:
        """Give it one event."""
        call = Call(request_id=request_id, deadline_ms=2_000_000_000_000, arn=ARN, event=event, **more)
        return await self.api.invoke(call)


@contextlib.asynccontextmanager
async def runtime(directory: Path, code: str | None, handler: str = "app.handler") -> AsyncIterator[Runtime]:
    """Start the client on a module `app` with that code; killed at the end."""
    if code is not None:
        (directory / "app.py").write_text(code, encoding="utf-8")
    async with served() as (api, port):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "awslambdaric",
            handler,
            cwd=directory,
            env={"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield Runtime(api, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]
