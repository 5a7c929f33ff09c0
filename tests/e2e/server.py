# SPDX-License-Identifier: Apache-2.0
"""A real server in a process of its own, and what a user's script would do with it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

LONGSHORE = str(Path(sys.executable).with_name("longshore"))
READY = "Longshore is ready: "
FINAL = {"succeeded", "failed", "timed_out", "out_of_memory", "cancelled", "lost", "expired"}


def a_zip(files: Mapping[str, str | bytes]) -> bytes:
    """A package with these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else textwrap.dedent(content))
    return out.getvalue()


@dataclass
class Server:
    """`longshore serve` over a data directory; may be killed and started again."""

    data: Path
    options: tuple[str, ...] = ()
    url: str = ""
    token: str = ""
    process: "subprocess.Popen[str] | None" = None
    log: list[str] = field(default_factory=list)
    api: httpx.Client = field(default_factory=lambda: httpx.Client())

    def start(self) -> "Server":
        """Start and wait until it is ready; makes an admin's token the first time."""
        with (self.data.parent / "server.log").open("a") as errors:
            self.process = subprocess.Popen(
                [LONGSHORE, "serve", "--data", str(self.data), "--listen", "127.0.0.1:0", *self.options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(READY):
                self.url = line.removeprefix(READY).strip()
                break
        assert self.url, (self.data.parent / "server.log").read_text()
        self.token = self.token or self.new_token("admin")
        self.api.close()
        self.api = httpx.Client(
            base_url=f"{self.url}/api/v1/projects/default",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
        )
        return self

    def new_token(self, role: str) -> str:
        """A token made with the data directory in hand."""
        command = [LONGSHORE, "token", "create", role, "--role", role, "--data", str(self.data), "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return str(json.loads(done.stdout)["token"])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def task(self, name: str, source: str | bytes, **fields: Any) -> dict[str, Any]:
        """A task over a one-file package, or over the bytes of a zip."""
        package = source if isinstance(source, bytes) else a_zip({"app.py": source})
        put = self.api.put(f"/buckets/tasks/objects/{name}.zip", content=package)
        assert put.status_code == 201, put.text
        draft = {
            "name": name,
            "runtime": "python3.11",
            "handler": "app.handler",
            "package": f"{name}.zip",
            **fields,
        }
        made = self.api.post("/tasks", json=draft)
        assert made.status_code == 201, made.text
        return dict(made.json()["task"])

    def begin(self, task: str, event: object = None) -> str:
        """Queue a run; its id."""
        answer = self.api.post(f"/tasks/{task}/runs", json={} if event is None else {"event": event})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def run(self, task: str, event: object = None) -> dict[str, Any]:
        """A run from its beginning to its end."""
        return self.ended(self.begin(task, event))

    def ended(self, run: str, within: float = 60) -> dict[str, Any]:
        """A run once it is over."""
        by = time.monotonic() + within
        while time.monotonic() < by:
            found = self.api.get(f"/runs/{run}", params={"wait": 10}).json()
            if found["state"] in FINAL:
                return dict(found)
        raise AssertionError(f"run {run} is still {found['state']}")

    def until(self, run: str, state: str, within: float = 30) -> None:
        """Wait until a run has come to a state."""
        by = time.monotonic() + within
        while (now := self.api.get(f"/runs/{run}").json()["state"]) != state:
            assert time.monotonic() < by, f"run {run} is {now}, not {state}"
            time.sleep(0.05)

    @contextlib.contextmanager
    def occupied(self) -> Iterator[None]:
        """Every core is taken while the block runs: what is begun in it waits for its end."""
        [machine] = self.api.get(f"{self.url}/api/v1/interceptors").json()["items"]
        if self.api.get("/tasks/occupying").status_code == 404:
            source = "import time\ndef handler(event, context):\n    time.sleep(600)\n"
            self.task("occupying", source, limits={"cpus": machine["cpu_cores"], "memory_mb": 128})
        run = self.begin("occupying")
        self.until(run, "running")
        yield
        self.api.post(f"/runs/{run}/cancel")
        self.ended(run)

    def log_of(self, run: str) -> str:
        """A run's log as text."""
        return self.api.get(f"/runs/{run}/log").text


def processes_of(marker: str) -> list[str]:
    """Command lines of processes that name a marker."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and place.name != str(os.getpid()):
            try:
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in line:
                found.append(line)
    return found
