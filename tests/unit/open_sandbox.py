# SPDX-License-Identifier: Apache-2.0
"""A sandbox without any walls: the official client as a plain process. For tests of what is around it."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from longshore.domain.errors import Unavailable
from longshore.domain.network import Address
from longshore.ports.sandbox import Cell, CellSpec, CellUsage, Exit, Frame, Isolation


class OpenCell:
    """Implements ports.sandbox.Cell."""

    def __init__(self, spec: CellSpec, oom: asyncio.Event) -> None:
        self._spec, self._oom = spec, oom
        self._place = Path(tempfile.mkdtemp(prefix="open-cell-"))
        (self._place / "output").mkdir()
        self._output = os.open(self._place / "output", os.O_RDONLY | os.O_DIRECTORY)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._platform = socket.create_server(("127.0.0.1", 0))
        self.doors: dict[Address, socket.socket] = {}
        self.notices: tuple[str, ...] = ()
        self.beside_mb = 0.0
        self.user: int | None = None
        self._out, self._out_write = os.pipe()
        self._err, self._err_write = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Task[None] | None = None
        self.killed = self.held = False

    @property
    def runtime_api(self) -> socket.socket:
        return self._door

    @property
    def platform(self) -> socket.socket:
        return self._platform

    @property
    def stdout(self) -> int:
        return self._out

    @property
    def stderr(self) -> int:
        return self._err

    async def assign(self, environment: Mapping[str, str], handler: str) -> None:
        host, port = self._door.getsockname()
        url = f"http://127.0.0.1:{self._platform.getsockname()[1]}"
        here = {
            "LONGSHORE_URL": url,
            "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}",
            "OUTPUT_DIR": str(self._place / "output"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=self._spec.package_dir,
            env={**environment, **here, "PATH": os.environ["PATH"]},
            stdout=self._out_write,
            stderr=self._err_write,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._waiting = asyncio.create_task(self._wait(self._process))

    async def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        code = await asyncio.to_thread(process.wait)
        oom = self._oom.is_set()
        if code < 0:
            self._exit.set_result(Exit(signal=-code, oom_killed=oom))
        else:
            self._exit.set_result(Exit(code=code, oom_killed=oom))

    async def furnish(self, spec: CellSpec) -> None:
        raise Unavailable("nothing is prepared here")

    def over_limit(self) -> bool:
        return self._oom.is_set()

    def has_strays(self) -> bool:
        return False

    async def hold(self) -> None:
        self.held = True

    async def rest(self) -> None:
        await self.hold()
        self._empty()

    async def resume(self, inputs: Mapping[str, Path]) -> None:
        if self.killed or self._exit.done():
            raise Unavailable("it has ended")
        self.held = False
        self._empty()

    def _empty(self) -> None:
        for file in (self._place / "output").iterdir():
            file.unlink()

    @property
    def exit(self) -> "asyncio.Future[Exit]":
        return self._exit

    async def clear(self) -> None:
        self._end_process()
        await self.exited()

    async def renew(self) -> None:
        self._empty()
        self._exit = asyncio.get_running_loop().create_future()
        self._waiting = None

    async def exited(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    async def kill(self) -> None:
        if self.killed:
            return
        self.killed = True
        self._end_process()
        if self._waiting is not None:
            await self._waiting
        self._door.close()
        self._platform.close()
        for number in (self._out, self._out_write, self._err, self._err_write, self._output):
            os.close(number)

    def _end_process(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove its place, which whoever has a descriptor may still want after the kill."""
        shutil.rmtree(self._place)

    def usage(self) -> CellUsage:
        return CellUsage(cpu_ms=12.5, peak_memory_mb=33.3)

    def output(self) -> int:
        return self._output


@dataclass
class OpenSandbox:
    """Implements ports.sandbox.Sandbox. `oom` makes every exit one by the memory limit; `gate` holds
    launches back; `notices` is what cells could not be given."""

    cells: list[OpenCell] = field(default_factory=list)
    oom: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    launching: asyncio.Event = field(default_factory=asyncio.Event)
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def isolation(self) -> Isolation:
        return Isolation(level="none")

    async def launch(self, spec: CellSpec, early: Mapping[str, str] | None = None) -> Cell:
        self.launching.set()
        await self.gate.wait()
        cell = OpenCell(spec, self.oom)
        cell.notices = self.notices
        self.cells.append(cell)
        return cell

    async def prepare(self, frame: Frame, environment: Mapping[str, str]) -> Cell | None:
        return None

    async def close(self) -> None:
        for cell in self.cells:
            await cell.kill()
            cell.remove()
