# SPDX-License-Identifier: Apache-2.0
"""The walls around one handler.

    launch(spec) ───────────────────▶ Cell ─▶ assign(environment, handler) ─▶ ... Runtime API ... ─▶ kill()
    prepare(frame) ─▶ furnish(spec) ──▲                                           hold() ─▶ resume()

A cell that was launched has its mounts, limits and a launcher waiting inside, but no secret and no code of
anybody running. `assign` sends the environment in and starts the runtime; from then on it talks to whoever
accepts connections on `runtime_api`.

`prepare` does ahead of need all that is nobody's: the runtime waits inside with its client imported, and
`furnish` makes the cell a task's. Between two runs of one task a cell can `rest`: everything in it is held.
A runtime that timed out or crashed gives way to another one: `clear` ─▶ `renew` ─▶ `resume` ─▶ `assign`.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from longshore.domain.network import Address, Network, NetworkMode

PLATFORM_PORT = 9002
CLOSED = Network(NetworkMode.NONE)
_SIGNAL_WORDS: Mapping[int, str] = {
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGILL: "illegal instruction",
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGSYS: "bad system call",
    signal.SIGTERM: "terminated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """What a cell holds and may take.

    `runtime_root` is mounted at /var/lang (None: the interpreter lives in /usr), `runtime_dir` at
    /var/runtime, `package_dir` at /var/task, each file of `inputs` below /var/input; all read-only. /tmp and
    /output take `disk_mb` MB each. `python` is the interpreter's path inside the cell. `network` is what it
    reaches. Only a cell that is being prepared has no package.
    """

    runtime_root: Path | None
    python: str
    runtime_dir: Path
    package_dir: Path | None
    inputs: Mapping[str, Path] = field(default_factory=dict)
    cpus: float
    memory_mb: int
    disk_mb: int
    pids: int
    network: Network = CLOSED

    @property
    def frame(self) -> "Frame":
        """The part that is settled when a cell starts."""
        return Frame(
            runtime_root=self.runtime_root,
            python=self.python,
            runtime_dir=self.runtime_dir,
            disk_mb=self.disk_mb,
            pids=self.pids,
            network=self.network,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a cell is before it is anybody's; the fields mean what they mean in CellSpec.

    A cell's network is laid while it boots and stays what it is: no cell ever reaches more than it did when
    it had nobody's code.
    """

    runtime_root: Path | None
    python: str
    runtime_dir: Path
    disk_mb: int
    pids: int
    network: Network = CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the runtime's process ended. `oom_killed`: the memory limit ended it, whatever code it shows."""

    code: int | None = None
    signal: int | None = None
    oom_killed: bool = False

    @property
    def signal_name(self) -> str:
        """As AWS words it: `killed`, `segmentation fault`, `aborted`; the number where it has no word."""
        return _SIGNAL_WORDS.get(self.signal or 0, str(self.signal))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellUsage:
    """What everything in a cell has taken so far. CPU in milliseconds, memory in MB (2**20 bytes)."""

    cpu_ms: float
    peak_memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """How good the walls are. `level` is one word that lists show, `words` say what is missing."""

    level: str
    words: tuple[str, ...] = ()


class Cell(Protocol):
    """One sandbox with a launcher in it."""

    @property
    def runtime_api(self) -> socket.socket:
        """A listening stream socket: 127.0.0.1:9001 of the cell's own network. The cell closes it."""
        ...

    @property
    def platform(self) -> socket.socket:
        """The same for the platform's API: 127.0.0.1:9002. Where the cell has no network of its own (mode
        host, no walls) both have other ports, and the environment says which."""
        ...

    @property
    def doors(self) -> Mapping[Address, socket.socket]:
        """Listening sockets inside, by the pairs of the network's `allow` that they stand for: whoever
        accepts there connects to the pair. Pairs that the cell reaches by itself have none. The cell closes
        them."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What of its network it could not be given, a sentence each with what to do."""
        ...

    @property
    def user(self) -> int | None:
        """The host's user whose processes are all in this cell; None where it shares one with others."""
        ...

    @property
    def beside_mb(self) -> float:
        """Memory in MB that it takes beside its own processes, for as long as it is there."""
        ...

    @property
    def stdout(self) -> int:
        """The reading end of the handler's standard output, a file descriptor that the cell closes."""
        ...

    @property
    def stderr(self) -> int:
        """The same for standard error."""
        ...

    async def furnish(self, spec: CellSpec) -> None:
        """Make a prepared cell that of a task: its package, its inputs, its limits. Once, before `assign`.
        Raises Unavailable when it cannot be, or when its network is not what it would be today; the cell is
        to be killed then."""
        ...

    async def assign(self, environment: Mapping[str, str], handler: str) -> None:
        """Start the runtime with exactly this environment; once a cell, and again after each `renew`. Raises
        Unavailable when the launcher is not there any more."""
        ...

    @property
    def exit(self) -> "asyncio.Future[Exit]":
        """What `exited` waits for; not to be cancelled."""
        ...

    async def exited(self) -> Exit:
        """Wait for the end of the runtime's process. May be awaited by several, cancelled, asked again."""
        ...

    def over_limit(self) -> bool:
        """Whether the memory limit has ended anything in here."""
        ...

    def has_strays(self) -> bool:
        """Whether a run has left processes behind, beside the runtime's own."""
        ...

    async def hold(self) -> None:
        """Hold everything in the cell still. May be called again. Raises Unavailable when it cannot be; the
        cell is to be killed then."""
        ...

    async def rest(self) -> None:
        """Hold it, and empty /output. Raises Unavailable like `hold`."""
        ...

    async def resume(self, inputs: Mapping[str, Path]) -> None:
        """Let it go on for another run, rested or not: with these inputs, an empty /output and usage that
        counts from here. Raises Unavailable like `furnish`."""
        ...

    async def clear(self) -> None:
        """End the runtime and all that it has started, and wait until nobody is left; usage is settled then,
        /tmp and /output are as they were left. Raises Unavailable when something resists, `hold` the like."""
        ...

    async def renew(self) -> None:
        """Make a cell that was cleared ready for another runtime: /tmp is kept, nothing else of a run is.
        Where the cell had an early environment a runtime waits already. `resume` is next. Raises Unavailable
        like `hold`."""
        ...

    async def terminate(self) -> None:
        """Send SIGTERM to the runtime's process; harmless when it is gone."""
        ...

    async def kill(self) -> None:
        """End every process in the cell and wait until none is left (0.5 s), then let go of everything.
        May be called again."""
        ...

    def usage(self) -> CellUsage:
        """What the run has taken so far; after `kill` what was measured last."""
        ...

    def output(self) -> int:
        """A directory descriptor of /output. It stays readable after `kill` for whoever has duplicated it."""
        ...


class Sandbox(Protocol):
    """Makes cells."""

    @property
    def isolation(self) -> Isolation: ...

    async def launch(self, spec: CellSpec, early: Mapping[str, str] | None = None) -> Cell:
        """A fresh cell; raises Unavailable with what is missing on this machine. With an `early` environment
        its interpreter starts with that, and need not start once more for `assign`: faster, but what an
        interpreter looks at when it starts must be the same there."""
        ...

    async def prepare(self, frame: Frame, environment: Mapping[str, str]) -> Cell | None:
        """A cell whose runtime has started with this environment and waits to be furnished; None where cells
        cannot be prepared. Raises Unavailable with what is missing on this machine."""
        ...

    async def close(self) -> None:
        """Kill what is left and remove every trace."""
        ...
