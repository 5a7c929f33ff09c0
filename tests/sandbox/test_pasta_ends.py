# SPDX-License-Identifier: Apache-2.0
"""Whoever carries a cell's network ends with the server, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.sandbox.cells import eventually_none, processes_with

from longshore.adapters.sandbox import egress
from longshore.adapters.sandbox.home import open_home
from longshore.interceptor.runtimes import PreparedRuntime

CARRIED = """
import asyncio, sys
from pathlib import Path
from tests.sandbox.cells import ENVIRONMENT, Bench
from tests.sandbox.conftest import opened, own_runtime
from longshore.domain.network import Network

async def main(kind, place, runtimes, when):
    bench = Bench(await opened(kind, Path(place, "sandbox")), await own_runtime(Path(runtimes)), Path(place))
    spec = bench.spec(network=Network())
    box = bench.sandbox
    cell = await (box.prepare(spec.frame, ENVIRONMENT) if when == "ahead" else box.launch(spec))
    print(*cell.notices or ["up"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


def started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """A server of ours that will be killed."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_who_carried_the_network_of_a_dead_server_s_cell_is_ended(place: Path) -> None:
    dead = place / "sandbox" / "longshore-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    command = [sys.executable, "-c", "import time; time.sleep(600)", egress.marked("longshore-dead")]
    with subprocess.Popen(command) as stuck:
        while not processes_with(command[-1]):
            time.sleep(0.005)

        open_home(place / "sandbox").close()

        assert stuck.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["strict", "limits"])
@pytest.mark.parametrize("ahead", [False, True])
def test_pasta_does_not_outlive_its_server(
    kind: str, ahead: bool, runtime: PreparedRuntime, place: Path
) -> None:
    if why := egress.missing():
        pytest.skip(why)
    words = [kind, str(place), str(runtime.directory.parent.parent), "ahead" if ahead else "now"]
    with started([sys.executable, "-c", CARRIED, *words]) as server:
        said = server.stdout.readline() if server.stdout else b""
        if said != b"up\n":
            _, errors = server.communicate()
            if b"Unavailable" in errors or said:
                pytest.skip(f"{kind} has no way out here: {said.decode()} {errors.decode()[-300:]}")
            pytest.fail(errors.decode())
        home = next((place / "sandbox").iterdir())
        before = processes_with(egress.marked(home.name))
        server.send_signal(signal.SIGKILL)

    assert len(before) == 1
    assert eventually_none(egress.marked(home.name))
    open_home(place / "sandbox").close()
    assert list((place / "sandbox").iterdir()) == []
