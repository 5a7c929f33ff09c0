# SPDX-License-Identifier: Apache-2.0
"""What killed servers leave behind is removed by the next one to start, and nothing of the living."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.sandbox.cells import ENVIRONMENT, Bench, Heard, eventually_none, processes_with, until_said

from longshore.adapters.sandbox import egress
from longshore.adapters.sandbox.home import open_home
from longshore.interceptor.runtimes import PreparedRuntime

SERVER = """
import asyncio, sys
from pathlib import Path
from tests.sandbox.cells import Bench, Heard, until_said
from tests.sandbox.conftest import opened, own_runtime

async def main(kind, place, runtimes, mark):
    runtime = await own_runtime(Path(runtimes))
    bench = Bench(await opened(kind, Path(place, "sandbox")), runtime, Path(place))
    code = (
        "import os, sys, time\\n"
        "daemon = [sys.executable, '-c', 'import time; time.sleep(600)', os.environ['MARK']]\\n"
        "if os.fork() == 0:\\n"
        "    os.setsid()\\n"
        "    os.execv(sys.executable, daemon)\\n"
        "print('up', flush=True)\\n"
        "time.sleep(600)"
    )
    cell = await bench.begun(code, {"MARK": mark})
    await until_said(cell, Heard(), b"up")
    await asyncio.sleep(0.2)
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


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


@pytest.mark.parametrize("kind", ["strict", "limits", "process"])
def test_what_a_killed_server_left_is_removed_at_the_next_start(
    kind: str, runtime: PreparedRuntime, place: Path
) -> None:
    mark = f"longshore-left-{os.getpid()}-{kind}"
    command = [sys.executable, "-c", SERVER, kind, str(place), str(runtime.directory.parent.parent), mark]
    with started(command) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        if server.stdout.readline() != b"up\n":
            said = server.stderr.read().decode()
            if "Unavailable" in said:
                pytest.skip(f"{kind} is not to be had here: {said.splitlines()[-1]}")
            pytest.fail(said)
        home = next((place / "sandbox").iterdir())
        groups = [Path(line) for line in (home / "groups").read_text().splitlines()]
        server.send_signal(signal.SIGKILL)
    if kind != "process":
        assert eventually_none(mark)

    open_home(place / "sandbox").close()

    assert eventually_none(mark)
    assert not home.exists()
    assert [group for group in groups if group.exists()] == []
    assert list((place / "sandbox").iterdir()) == []


@pytest.mark.anyio
async def test_a_living_server_that_shares_the_directory_is_not_disturbed(bench: Bench) -> None:
    cell = await bench.begun("print('up', flush=True)\nimport time\ntime.sleep(600)", ENVIRONMENT)
    await until_said(cell, Heard(), b"up")

    other = await asyncio.to_thread(open_home, bench.place / "sandbox")
    other.close()

    ended = asyncio.ensure_future(cell.exited())
    await asyncio.sleep(0.1)
    assert not ended.done()
    await cell.kill()
    await ended


def test_a_launch_that_its_server_did_not_survive_is_ended(place: Path) -> None:
    dead = place / "sandbox" / "longshore-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    command = [sys.executable, "-c", "import time; time.sleep(600)", f"{dead}/bootstrap"]
    with subprocess.Popen(command) as stuck:
        while not processes_with(f"{dead}/bootstrap"):
            time.sleep(0.005)

        open_home(place / "sandbox").close()

        assert stuck.wait(10) == -signal.SIGKILL
    assert not dead.exists()


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
