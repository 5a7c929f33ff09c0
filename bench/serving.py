# SPDX-License-Identifier: Apache-2.0
"""A server in a process of its own, and a client of it that costs little."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.leftovers import Standing, standing

LONGSHORE = str(Path(sys.executable).with_name("longshore"))
READY = "Longshore is ready: "


@dataclass(slots=True)
class Caller:
    """One client with one connection."""

    address: str
    token: str
    _connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: object = None, *, raw: bytes | None = None) -> Any:
        """An answer's JSON, or text where it is none. Raises RuntimeError for a refusal."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.address, timeout=120)
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self._connection.request(method, f"/api/v1/projects/default{path}", content, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:300]}")
        is_json = answer.headers.get_content_type() == "application/json"
        return json.loads(text) if is_json else text.decode()

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()


@dataclass(slots=True)
class Server:
    """`longshore serve` with a TMPDIR of its own; `settings` are variables of its environment."""

    place: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str]" = field(init=False)
    address: str = field(init=False)
    token: str = field(init=False)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.place / "data"

    @property
    def temporary(self) -> Path:
        """Its TMPDIR."""
        return self.place / "tmp"

    @property
    def log(self) -> Path:
        """What it says on stderr."""
        return self.place / "server.log"

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.temporary.mkdir(exist_ok=True)
        environment = {**os.environ, **self.settings, "TMPDIR": str(self.temporary)}
        command = [LONGSHORE, "serve", "--data", str(self.data), "--listen", "127.0.0.1:0"]
        with self.log.open("a") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if line.startswith(READY))
        self.address = line.removeprefix(READY).strip().removeprefix("http://")
        made = [LONGSHORE, "token", "create", "bench", "--role", "admin", "--data", str(self.data), "--json"]
        self.token = json.loads(subprocess.run(made, check=True, stdout=subprocess.PIPE).stdout)["token"]

    def stop(self) -> int:
        """Its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def standing(self) -> Standing:
        """Counted now."""
        return standing(self.process.pid, self.data, self.temporary)

    def complaints(self) -> list[str]:
        """What it logged as an error of its own."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if '"error"' in line or "Traceback" in line or "never awaited" in line]


def package(source: str) -> bytes:
    """A package with one module, app.py."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("app.py", source)
    return out.getvalue()
