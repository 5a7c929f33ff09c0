# SPDX-License-Identifier: Apache-2.0
"""Real cells for tests. A handler's module runs before the first event, so most tests need no Runtime API."""

import asyncio
import contextlib
import json
import os
import textwrap
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longshore.interceptor.runtimes import PreparedRuntime
from longshore.ports.sandbox import Cell, CellSpec, Exit, Sandbox
from longshore.runtime_api.server import Call, Response, RuntimeApi

ENVIRONMENT = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "HOME": "/tmp",
    "INPUT_DIR": "/var/input",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LD_LIBRARY_PATH": "/var/lang/lib:/var/task/lib",
    "OUTPUT_DIR": "/output",
    "PATH": "/var/lang/bin:/usr/bin:/bin",
}


@dataclass
class Heard:
    """What a handler has written so far."""

    out: bytes = b""
    err: bytes = b""

    def json(self) -> Any:
        """The one value that it printed."""
        assert self.out.strip(), f"nothing was printed; stderr: {self.err.decode()}"
        return json.loads(self.out)


@dataclass
class Bench:
    """A sandbox, a prepared runtime and a place that a cell's user may reach."""

    sandbox: Sandbox
    runtime: PreparedRuntime
    place: Path
    _count: int = field(default=0)

    def package(self, code: str) -> Path:
        """A package with one module `app`."""
        self._count += 1
        directory = self.place / f"package-{self._count}"
        directory.mkdir(mode=0o755)
        (directory / "app.py").write_text(textwrap.dedent(code), encoding="utf-8")
        return directory

    def spec(self, code: str = "", **more: Any) -> CellSpec:
        """A cell around a module's code."""
        wanted: dict[str, Any] = {"cpus": 1.0, "memory_mb": 256, "disk_mb": 32, "pids": 64, **more}
        return CellSpec(
            runtime_root=self.runtime.root,
            python=self.runtime.python,
            runtime_dir=self.runtime.directory,
            package_dir=wanted.pop("package_dir", None) or self.package(code),
            **wanted,
        )

    async def begun(
        self,
        code: str,
        environment: Mapping[str, str] | None = None,
        *,
        early: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Cell:
        """A cell whose runtime has been started."""
        cell = await self.sandbox.launch(self.spec(code, **more), early)
        try:
            await cell.assign({**ENVIRONMENT, **(environment or {})}, "app.handler")
        except BaseException:
            await cell.kill()
            raise
        return cell

    async def ran(self, code: str, *, within: float = 60, **more: Any) -> tuple[Exit, Heard]:
        """Run a module that ends its process by itself."""
        cell = await self.begun(code, **more)
        heard = Heard()
        try:
            ended = await until_exit(cell, heard, within=within)
        finally:
            await cell.kill()
        return ended, heard


@contextlib.asynccontextmanager
async def serving(cell: Cell) -> AsyncIterator[RuntimeApi]:
    """The Runtime API at a cell's door, once its runtime is ready."""
    api = RuntimeApi(cell.runtime_api)
    await api.start()
    try:
        yield api
    finally:
        await api.close()


async def asked(api: RuntimeApi, name: str = "run") -> Any:
    """What the handler returns."""
    call = Call(request_id=name, deadline_ms=int(time.time() * 1000) + 60_000, arn="arn:demo", event=b"{}")
    answer = await asyncio.wait_for(api.invoke(call), 60)
    assert isinstance(answer, Response), answer
    return json.loads(answer.payload)


async def assigned(cell: Cell, environment: Mapping[str, str] | None = None) -> None:
    """Give it its handler."""
    await cell.assign({**ENVIRONMENT, **(environment or {})}, "app.handler")


async def until_exit(cell: Cell, heard: Heard, *, within: float = 60) -> Exit:
    """Read along until the runtime's process has ended."""
    gone = asyncio.ensure_future(cell.exited())
    async with asyncio.timeout(within):
        while not gone.done():
            await asyncio.sleep(0.005)
            listen(cell, heard)
    listen(cell, heard)
    return gone.result()


async def until_said(cell: Cell, heard: Heard, word: bytes, *, within: float = 30) -> None:
    """Read along until a word has come."""
    async with asyncio.timeout(within):
        while word not in heard.out:
            await asyncio.sleep(0.005)
            listen(cell, heard)


def listen(cell: Cell, heard: Heard) -> None:
    """Take what is there."""
    heard.out += _rest(cell.stdout)
    heard.err += _rest(cell.stderr)


def _rest(number: int) -> bytes:
    parts = []
    try:
        while part := os.read(number, 65536):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def processes_with(word: str) -> list[str]:
    """The command lines on this machine, of zombies too, that have a word in them."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                text = text or Path("/proc", name, "comm").read_text()
            except OSError:
                continue
            found += [text] if word in text else []
    return found


def zombies() -> list[str]:
    """Our children that ended and that nobody waited for."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found += [name] if words[0] == "Z" and words[1] == str(os.getpid()) else []
    return found


def eventually_none(word: str, *, within: float = 5) -> bool:
    """Whether no process has the word any more, soon."""
    until = time.monotonic() + within
    while processes_with(word):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def nothing_in(place: Path) -> bool:
    """Whether there are no files below a directory, and no directories but empty places for another cell."""
    found = {path.relative_to(place).parts[1:] for path in place.rglob("*")}
    return found <= {(), ("var",), *(("var", name) for name in ("lang", "runtime", "input", "task"))}
