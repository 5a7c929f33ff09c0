# SPDX-License-Identifier: Apache-2.0
"""A program in the lab's network: one cell with egress and one allowed pair, whose handler tries everything.

It takes nothing but the sandbox, so that any user's Python runs it.
usage: lab_cell.py launched|prepared PLACE ROOT PYTHON DIRECTORY CODE TRIES
"""

import asyncio
import json
import os
import socket
import sys
import threading
from pathlib import Path

from longshore.adapters.sandbox import open_sandbox
from longshore.domain.network import Network, NetworkMode, address
from longshore.ports.sandbox import Cell, CellSpec

OWN = "127.0.0.1:7002"
ENVIRONMENT = {
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "HOME": "/tmp",
    "LD_LIBRARY_PATH": "/var/lang/lib",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
}


def relay(door: socket.socket, host: str, port: int) -> None:
    """One connection from a door to where it leads."""
    one, _ = door.accept()
    with one, socket.create_connection((host, port)) as there:
        one.sendall(there.recv(100))


async def begun(kind: str, spec: CellSpec, place: Path, tries: str) -> tuple[Cell, bytes]:
    """The cell, over, and what its handler said."""
    sandbox = await open_sandbox("bubblewrap", place / "sandbox")
    ahead = await sandbox.prepare(spec.frame, ENVIRONMENT) if kind == "prepared" else None
    cell = ahead or await sandbox.launch(spec)
    if kind == "prepared":
        await cell.furnish(spec)
    for pair, door in cell.doors.items():
        door.setblocking(True)
        threading.Thread(target=relay, args=(door.dup(), pair.host, pair.port), daemon=True).start()
    await cell.assign({**ENVIRONMENT, "TRY": tries}, "app.handler")
    await cell.exited()
    said = os.read(cell.stdout, 65536)
    await cell.kill()
    await sandbox.close()
    return cell, said


async def main(kind: str, at: str, root: str, python: str, directory: str, code: str, tries: str) -> None:
    """Print what it found."""
    place = Path(at)
    (place / "package").mkdir()
    (place / "package" / "app.py").write_text(code)
    spec = CellSpec(
        runtime_root=Path(root) if root else None,
        python=python,
        runtime_dir=Path(directory),
        package_dir=place / "package",
        cpus=1,
        memory_mb=128,
        disk_mb=16,
        pids=32,
        network=Network(NetworkMode.EGRESS, (address(OWN), address("10.213.9.9:80"))),
    )
    cell, said = await begun(kind, spec, place, tries)
    doors = [str(pair) for pair in cell.doors]
    print(json.dumps({**json.loads(said), "notices": list(cell.notices), "doors": doors}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
