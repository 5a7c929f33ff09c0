# SPDX-License-Identifier: Apache-2.0
"""Processes that the bench starts, on the cores that are measured, and ends."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from bench.machine import SERVER_CORES, on

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STARTS_WITHIN_S = 60.0


class Child:
    """A process with all that it starts. What it prints on stderr goes to a file, to be quoted if it dies; so
    does the rest of one that does not talk: nobody reads it, and a full pipe would stop it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
        cores: Iterable[int] = SERVER_CORES,
        talks: bool = True,
    ) -> None:
        self.errors = errors
        with on(cores), open(errors or os.devnull, "wb") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else stderr,
                stderr=stderr,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self.stdin = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout or io.BytesIO()

    def line(self, start: str) -> str:
        """The rest of the next line that starts so."""
        for line in self.stdout:
            if line.startswith(start.encode()):
                return line.decode().removeprefix(start).strip()
        raise RuntimeError(f"it ended{self._last_words()}")

    def ask(self, **question: object) -> dict[str, object]:
        """A question and its answer, each a line of JSON."""
        self.stdin.write(json.dumps(question).encode() + b"\n")
        self.stdin.flush()
        answer: dict[str, object] = json.loads(self.line("answer "))
        if "failed" in answer:
            raise RuntimeError(str(answer["failed"]))
        return answer

    def until_listening(self, port: int) -> None:
        """Until somebody answers there. Looks every millisecond."""
        until = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"it ended{self._last_words()}") from None
                if time.monotonic() > until:
                    raise RuntimeError(f"does not listen after {STARTS_WITHIN_S:.0f} s") from None
                time.sleep(0.001)
            else:
                return

    def stop(self) -> None:
        """Ask it to end, then see to it that nothing of it is left."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()

    def _last_words(self) -> str:
        words = self.errors.read_text(errors="replace").strip().splitlines() if self.errors else []
        return f": {words[-1][:200]}" if words else ""


def finished(
    command: Sequence[str], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """A process from its start to its end: milliseconds, and what it printed. Raises when it failed."""
    given = {**os.environ, **(environment or {})}
    with on(SERVER_CORES):
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    said, _ = process.communicate(timeout=STARTS_WITHIN_S)
    took = (time.perf_counter() - began) * 1000
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {said[-200:].decode(errors='replace')}")
    return took, said.decode(errors="replace")


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port
