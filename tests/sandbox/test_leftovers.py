# SPDX-License-Identifier: Apache-2.0
"""What killed servers leave behind is removed by the next one to start, and nothing of the living."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.sandbox.cells import ENVIRONMENT, Bench, Heard, eventually_none, processes_with, until_said

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


@pytest.mark.parametrize("kind", ["strict", "limits", "process"])
def test_what_a_killed_server_left_is_removed_at_the_next_start(
    kind: str, runtime: PreparedRuntime, place: Path
) -> None:
    mark = f"longshore-left-{os.getpid()}-{kind}"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SERVER, kind, str(place), str(runtime.directory.parent.parent), mark]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
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
