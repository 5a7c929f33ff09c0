# SPDX-License-Identifier: Apache-2.0
"""What hostile programs are after, made for them and gone afterwards: nothing of value is at stake."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import egress

VARIABLE = "LONGSHORE_PROBE"
_PROCESS = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"hit"))
os.write(1, b"up")
while True:
    signal.pause()
"""


@dataclass(frozen=True, slots=True)
class Victims:
    """A file for our eyes only, some code, a process, listening sockets, a variable of our environment."""

    place: Path
    marker: str
    token: str
    port: int
    process: int
    witness: int
    real: Sequence[Path]

    @property
    def daemon(self) -> str:
        """A word in the command line of a process that is left behind."""
        return f"{self.marker}-daemon"

    def told(self) -> dict[str, object]:
        """What a program has to know to go for them."""
        return {
            "secrets": [str(place) for place in (self.place / "secret", *self.real)],
            "code": str(self.place / "code" / "app.py"),
            "process": self.process,
            "marker": self.marker,
            "daemon": self.daemon,
            "token": self.token,
            "port": self.port,
            "own": [str(ip) for ip in egress.own_addresses() if not ip.is_link_local],
            "metadata": ["169.254.169.254", "fd00:ec2::254"],
        }

    def was_hit(self) -> bool:
        """Whether a signal has reached the process since this was asked last."""
        with contextlib.suppress(BlockingIOError):
            return b"hit" in os.read(self.witness, 4096)
        return False


@contextlib.contextmanager
def victims(place: Path, real: Sequence[Path] = (), *, everywhere: bool = False) -> Iterator[Victims]:
    """Some below `place`, which everybody may pass through; `real` are secrets of this machine to go for,
    too. `everywhere`: the service listens at every address of the machine, not on its loopback alone."""
    marker = f"longshore-probe-{secrets.token_hex(8)}"
    token = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        (place / "code").mkdir(parents=True)
        (place / "code" / "app.py").write_text("def handler(event, context):\n    pass\n", encoding="utf-8")
        for path, mode in ((place, 0o711), (place / "code", 0o755), (place / "code" / "app.py", 0o644)):
            path.chmod(mode)
        secret = os.open(place / "secret", os.O_WRONLY | os.O_CREAT, 0o600)
        stack.callback(os.close, secret)
        os.write(secret, token.encode())
        os.set_inheritable(secret, True)
        stack.enter_context(_listening(marker))
        port = stack.enter_context(_port(everywhere=everywhere))
        stack.enter_context(_variable(token))
        process, witness = stack.enter_context(_process(marker))
        yield Victims(place, marker, token, port, process, witness, real)


@contextlib.contextmanager
def _listening(name: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("\0" + name)
        one.listen()
        yield


@contextlib.contextmanager
def _port(*, everywhere: bool) -> Iterator[int]:
    """A connection is proof enough; nobody answers."""
    with socket.create_server(("" if everywhere else "127.0.0.1", 0), backlog=64) as one:
        yield one.getsockname()[1]


@contextlib.contextmanager
def _variable(value: str) -> Iterator[None]:
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        del os.environ[VARIABLE]


@contextlib.contextmanager
def _process(marker: str) -> Iterator[tuple[int, int]]:
    """Its number, and where it says that a signal has reached it."""
    reading, writing = os.pipe()
    words = [sys.executable, "-I", "-S", "-c", _PROCESS, marker]
    with (
        os.fdopen(reading, "rb", 0),
        os.fdopen(writing, "wb", 0) as said,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said) as process,
    ):
        said.close()
        os.read(reading, 2)
        os.set_blocking(reading, False)
        try:
            yield process.pid, reading
        finally:
            process.kill()
