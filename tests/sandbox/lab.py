# SPDX-License-Identifier: Apache-2.0
"""A program in a network namespace of its own: a machine with two addresses, and a neighbour behind a cable.

The neighbour is the gateway and answers at every address, so that what a cell cannot reach is shut by us.
usage: unshare --net python lab.py launched|prepared PLACE RUNTIMES USER
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_server, socket

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.sandbox.conftest import own_runtime
from tests.sandbox.test_network import TRY

import longshore
from longshore.interceptor.runtimes import PreparedRuntime

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
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", sys.executable, "-c", NEIGHBOUR],
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


def tried(kind: str, place: Path, runtime: PreparedRuntime, user: int) -> str:
    """What a cell of that user's finds."""
    tries = {
        "outside": ("10.213.9.9", PORT),
        "loopback": ("127.0.0.1", PORT),
        "own": ("10.213.7.1", PORT),
        "second": ("10.213.8.1", PORT),
        "metadata": ("169.254.169.254", PORT),
        "gateway_loopback": ("10.213.7.2", PORT + 1),
        "allowed": ("127.0.0.1", PORT + 2),
    }
    root = str(runtime.root or "")
    python = runtime.python.replace("/var/lang", root, 1) if root else runtime.python
    program = str(place / "src" / "lab_cell.py")
    words = [str(place / "own"), root, runtime.python, str(runtime.directory), TRY, json.dumps(tries)]
    library = {"LD_LIBRARY_PATH": f"{root}/lib"} if root else {}
    done = subprocess.run(
        [python, "-W", "error", program, kind, *words],
        user=user,
        group=user,
        extra_groups=[],
        env={"PYTHONPATH": str(place / "src"), "PATH": os.environ["PATH"], **library},
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def main(kind: str, place: Path, runtimes: Path, user: int) -> None:
    """Everything that answers, and the cell."""
    runtime = asyncio.run(own_runtime(runtimes))
    shutil.copytree(Path(longshore.__file__).parent, place / "src" / "longshore")
    shutil.copy(Path(__file__).with_name("lab_cell.py"), place / "src")
    (place / "own").mkdir()
    (place / "own").chmod(0o755)
    os.chown(place / "own", user, user)
    subprocess.run(["chmod", "-R", "a+rX", str(place / "src")], check=True)
    with (
        neighbour(),
        create_server(("0.0.0.0", PORT)) as here,
        create_server(("127.0.0.1", PORT + 1)) as there,
        create_server(("127.0.0.1", PORT + 2)) as own,
    ):
        for server, word in ((here, b"this machine"), (there, b"loopback"), (own, b"own loopback")):
            threading.Thread(target=answer, args=(server, word), daemon=True).start()
        print(tried(kind, place, runtime, user))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
