# SPDX-License-Identifier: Apache-2.0
"""Longshore at work, as `./run` shows it: one server with everything embedded, its example on a real file.

    serve ─▶ project demo ─▶ package, sample, task ─▶ run ─▶ log ─▶ Excel file

What is there already from an earlier start is left alone.

Everything but the first token goes through the public API, as a user's script would.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from longshore.settings import default_data

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "jtl_to_excel"
OUT = ROOT / "out"
PROJECT, TASK, PACKAGE = "demo", "jtl_to_excel", "jtl_to_excel.zip"
SAMPLE = "samples/sample.jtl"
LONGSHORE = str(Path(sys.executable).with_name("longshore"))
READY = "Longshore is ready: "


def say(text: str = "") -> None:
    """One line of progress."""
    print(text, flush=True)


def main() -> int:
    """Serve, show the example, keep serving unless told otherwise."""
    words = argparse.ArgumentParser()
    words.add_argument("--once", action="store_true")
    words.add_argument("--data", type=Path)
    words.add_argument("--listen", default="127.0.0.1:8700")
    given = words.parse_args()
    data = given.data or Path(os.environ.get("LONGSHORE_DATA") or default_data())
    say(f"Starting the server (data in {data}) ...")
    with serving(data, free(given.listen)) as (server, url):
        with httpx.Client(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {token(data, url)}"}
        ) as api:
            code = show(api, url)
            if given.once:
                return code
            say(f"Log in       {login_link(api)}")
        say("Serving until Ctrl-C.")
        server.wait()
        return code


def free(listen: str) -> str:
    """The wanted address, or another free port of the same host when it is taken."""
    host, _, port = listen.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host or "127.0.0.1", int(port)))
        except OSError:
            say(f"{listen} is taken; another free port will do.")
            return f"{host or '127.0.0.1'}:0"
    return listen


@contextlib.contextmanager
def serving(data: Path, listen: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own, stopped at the end."""
    command = [LONGSHORE, "serve", "--data", str(data), "--listen", listen]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield server, ready(server)
    except KeyboardInterrupt:
        say("\nStopping ...")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def ready(server: "subprocess.Popen[str]") -> str:
    """The server's address once it answers; ends with the server's exit code if it never does."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(READY):
            threading.Thread(target=pass_on, args=(server.stdout,), daemon=True).start()
            return line.removeprefix(READY).strip()
        say(line.rstrip())
    sys.exit(server.wait() or 1)


def pass_on(lines: Iterator[str]) -> None:
    """What the server prints later."""
    for line in lines:
        say(line.rstrip())


def token(data: Path, url: str) -> str:
    """The demonstration's token: made with the data directory in hand at the first start, then kept there."""
    place = data / "state" / "demo.token"
    if place.exists():
        value = place.read_text().strip()
        answer = httpx.get(f"{url}/api/v1/me", headers={"Authorization": f"Bearer {value}"})
        if answer.status_code == httpx.codes.OK:
            return value
    command = [LONGSHORE, "token", "create", "demo", "--role", "admin", "--data", str(data), "--json"]
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    value = str(made["token"])
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(value)
    return value


def show(api: httpx.Client, url: str) -> int:
    """The example from package to Excel file; 0 when its run succeeded."""
    ensure_project(api)
    put_if_changed(api, "tasks", PACKAGE, built())
    put_if_changed(api, "inputs", "sample.jtl", EXAMPLE / SAMPLE)
    ensure_task(api)
    run = started(api)
    say(f"Running      {TASK} on {SAMPLE} (run {run['id']})")
    say()
    follow(api, run["id"])
    ended = api.get(f"/api/v1/projects/{PROJECT}/runs/{run['id']}", params={"wait": 60}).json()
    say()
    report(ended)
    for artifact in ended["artifacts"]:
        say(f"Excel file   {fetched(api, artifact)}")
        say(f"             {url}{place_of(artifact)}")
    return 0 if ended["state"] == "succeeded" else 1


def place_of(artifact: dict[str, Any]) -> str:
    """An artifact's address."""
    return f"/api/v1/projects/{PROJECT}/buckets/{artifact['bucket']}/objects/{artifact['key']}"


def checked(answer: httpx.Response, *fine: int) -> httpx.Response:
    """The answer, or the end with the server's own sentence."""
    if answer.is_success or answer.status_code in fine:
        return answer
    say(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    sys.exit(1)


def ensure_project(api: httpx.Client) -> None:
    """The project `demo`, made if it is not there."""
    checked(api.post("/api/v1/projects", json={"slug": PROJECT}), httpx.codes.CONFLICT)


def built() -> Path:
    """The example's package; built anew only when a file of the example has changed."""
    OUT.mkdir(exist_ok=True)
    package, stamp = OUT / PACKAGE, OUT / f".{PACKAGE}.of"
    files = sorted(
        path for path in [*EXAMPLE.rglob("*"), *(EXAMPLE / "results").rglob("*.py")] if path.is_file()
    )
    of = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    if not (package.exists() and stamp.exists() and stamp.read_text() == of):
        say(f"Building     {PACKAGE} with its requirements ...")
        command = [LONGSHORE, "package", "build", str(EXAMPLE), "-o", str(package)]
        if (code := subprocess.run(command, check=False).returncode) != 0:
            sys.exit(code)
        stamp.write_text(of)
    return package


def put_if_changed(api: httpx.Client, bucket: str, key: str, file: Path) -> None:
    """An object in a bucket with this content."""
    place = f"/api/v1/projects/{PROJECT}/buckets/{bucket}/objects/{key}"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    there = api.head(place)
    if there.is_success and digest in there.headers.get("ETag", ""):
        return
    say(f"Uploading    {file.name} ({file.stat().st_size / 1024:,.0f} KB) to bucket {bucket}")
    checked(api.put(place, content=file.read_bytes()))


def ensure_task(api: httpx.Client) -> None:
    """The task over the package, made if it is not there; a person's changes to it are left alone."""
    if api.get(f"/api/v1/projects/{PROJECT}/tasks/{TASK}").is_success:
        return
    say(f"Creating     task {TASK}")
    draft = {
        "name": TASK,
        "description": "A JMeter result file becomes an Excel report with a verdict",
        "runtime": f"python{sys.version_info[0]}.{sys.version_info[1]}",
        "handler": "lambda_function.lambda_handler",
        "package": PACKAGE,
        "parameters": json.loads((EXAMPLE / "parameters.json").read_text()),
        "limits": {"memory_mb": 512, "timeout_s": 120},
    }
    saved = checked(api.post(f"/api/v1/projects/{PROJECT}/tasks", json=draft)).json()
    for word in (*saved["warnings"], *(finding["message"] for finding in saved["findings"])):
        say(f"             {word}")


def started(api: httpx.Client) -> dict[str, Any]:
    """A run of the task on the sample."""
    body = {"parameters": {"file_name": "inputs/sample.jtl"}}
    run: dict[str, Any] = checked(api.post(f"/api/v1/projects/{PROJECT}/tasks/{TASK}/runs", json=body)).json()
    return run


def follow(api: httpx.Client, run: str) -> None:
    """The run's log, line by line, as it is written."""
    place = f"/api/v1/projects/{PROJECT}/runs/{run}/log"
    with api.stream("GET", place, params={"follow": "true"}, timeout=None) as lines:
        for line in lines.iter_lines():
            say(f"  {line}")


def report(run: dict[str, Any]) -> None:
    """How it ended, and the numbers."""
    usage, result = run["usage"], run["result"] if isinstance(run["result"], dict) else {}
    say(f"Run          {run['state']}{': ' + run['reason'] if run['reason'] else ''}")
    took, most = usage["wall_ms"] or 0, usage["peak_memory_mb"] or 0
    say(f"Took         {took:.0f} ms in the handler, {most:.0f} MB at most")
    if result:
        say(f"Verdict      {result.get('verdict')}")
        table(result.get("transactions") or [])


COLUMNS = {
    "transaction": "Transaction",
    "sampleCount": "Samples",
    "errorCount": "KO",
    "errorPct": "KO %",
    "meanResTime": "Avg ms",
    "medianResTime": "p50",
    "pct1ResTime": "p90",
    "pct2ResTime": "p95",
    "pct3ResTime": "p99",
    "throughput": "Req/s",
}
"""What the table shows of a transaction, and its heading."""


def table(transactions: list[dict[str, Any]]) -> None:
    """The transactions' numbers, as many as fit on a screen."""
    shown = [[cell(row.get(name)) for name in COLUMNS] for row in transactions[:12]]
    rows = [list(COLUMNS.values()), *shown] if shown else []
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))] if rows else []
    for first, *rest in rows:
        numbers = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        say("  " + "  ".join([first.ljust(widths[0]), *numbers]))
    if len(transactions) > 12:
        say(f"  ... and {len(transactions) - 12} more")


def cell(value: object) -> str:
    """A value as the table shows it."""
    return f"{value:,.2f}" if isinstance(value, float) else str(value)[:40]


def fetched(api: httpx.Client, artifact: dict[str, Any]) -> Path:
    """The artifact as a file below out/."""
    OUT.mkdir(exist_ok=True)
    target = OUT / Path(artifact["name"]).name
    with (
        tempfile.NamedTemporaryFile(dir=OUT, delete=False) as file,
        api.stream("GET", place_of(artifact)) as answer,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    shutil.move(file.name, target)
    target.chmod(0o644)
    return target


def login_link(api: httpx.Client) -> str:
    """A link that opens one browser session."""
    return str(checked(api.post("/api/v1/login-links")).json()["url"])


if __name__ == "__main__":
    sys.exit(main())
