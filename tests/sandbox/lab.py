# SPDX-License-Identifier: Apache-2.0
"""A program in a network namespace of its own: a machine with two addresses, and a neighbour behind a cable.

The neighbour is the gateway and answers at every address, so that what a cell cannot reach is shut by us.
usage: unshare --net python lab.py PLACE RUNTIMES launched|prepared
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import create_server, socket

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.sandbox.cells import ENVIRONMENT, Bench, Heard, until_exit
from tests.sandbox.conftest import opened, own_runtime
from tests.sandbox.test_network import TRY

from longshore.domain.network import Network, NetworkMode, address
from longshore.interceptor.doors import Doors, leads_to
from longshore.ports.sandbox import Cell

PORT = 7000
NEIGHBOUR = """
import socket, subprocess, sys, threading
sys.stdin.readline()
for words in ("addr add 10.213.7.2/24 dev v1", "addr add 169.254.169.254/32 dev v1", "link set v1 up",
              "link set lo up", "addr add 10.213.9.9/32 dev v1"):
    subprocess.run(["ip", *words.split()], check=True)
with socket.create_server(("0.0.0.0", 7000)) as server:
    print("ready", flush=True)
    while True:
        one, _ = server.accept()
        one.sendall(b"outside")
        one.close()
"""


def answer(server: socket, word: bytes) -> None:
    """Say a word to everybody."""
    with contextlib.suppress(OSError):
        while True:
            one, _ = server.accept()
            one.sendall(word)
            one.close()


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Behind the cable."""
    ip("link set lo up")
    child = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", NEIGHBOUR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        while Path(f"/proc/{child.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            pass
        ip(f"link add v0 type veth peer name v1 netns {child.pid}")
        for words in ("addr add 10.213.7.1/24 dev v0", "addr add 10.213.8.1/24 dev v0", "link set v0 up"):
            ip(words)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        ip("route add default via 10.213.7.2")
        yield
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def ip(words: str) -> None:
    """iproute2."""
    subprocess.run(["ip", *words.split()], check=True)


async def begun(bench: Bench, tries: Mapping[str, object], network: Network, *, ahead: bool) -> Cell:
    """A cell whose handler tries them; one that has booted ahead of it, or a fresh one."""
    environment = {"TRY": json.dumps(tries)}
    if not ahead:
        return await bench.begun(TRY, environment=environment, network=network)
    spec = bench.spec(TRY, network=network)
    cell = await bench.sandbox.prepare(spec.frame, ENVIRONMENT)
    assert cell is not None
    await cell.furnish(spec)
    await cell.assign({**ENVIRONMENT, **environment}, "app.handler")
    return cell


async def main(place: Path, runtimes: Path, kind: str) -> None:
    """One cell that tries everything."""
    tries = {
        "outside": ("10.213.9.9", PORT),
        "loopback": ("127.0.0.1", PORT),
        "own": ("10.213.7.1", PORT),
        "second": ("10.213.8.1", PORT),
        "metadata": ("169.254.169.254", PORT),
        "gateway_loopback": ("10.213.7.2", PORT + 1),
        "allowed": ("127.0.0.1", PORT + 2),
    }
    bench = Bench(await opened("limits", place / "sandbox"), await own_runtime(runtimes), place)
    network = Network(NetworkMode.EGRESS, (address(f"127.0.0.1:{PORT + 2}"), address("10.213.9.9:80")))
    try:
        cell = await begun(bench, tries, network, ahead=kind == "prepared")
        heard = Heard()
        doors = Doors()
        for pair, door in cell.doors.items():
            await doors.open(door, leads_to(pair))
        try:
            await until_exit(cell, heard)
        finally:
            await doors.close()
            await cell.kill()
        assert [str(pair) for pair in cell.doors] == [f"127.0.0.1:{PORT + 2}"]
        print(json.dumps({**heard.json(), "notices": list(cell.notices)}))
    finally:
        await bench.sandbox.close()


if __name__ == "__main__":
    with (
        neighbour(),
        create_server(("0.0.0.0", PORT)) as here,
        create_server(("127.0.0.1", PORT + 1)) as there,
    ):
        own = create_server(("127.0.0.1", PORT + 2))
        with own:
            for server, word in ((here, b"this machine"), (there, b"loopback"), (own, b"own loopback")):
                threading.Thread(target=answer, args=(server, word), daemon=True).start()
            asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
