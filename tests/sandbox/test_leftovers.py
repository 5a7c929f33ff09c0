# SPDX-License-Identifier: Apache-2.0
"""What killed servers leave behind is removed by the next one to start, and nothing of the living."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
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

async def main(kind, place, runtimes, mark, how):
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
    if how == "held":
        await cell.rest()
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Killed:
    """A server that was killed while a cell of its ran, or was held. `ends`: it takes no other server for the
    cell to end."""

    mark: str
    ends: bool
    home: Path
    groups: list[Path]


@pytest.fixture(params=["strict", "limits", "process"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of a server's cells."""
    return str(request.param)


@pytest.fixture(params=["running", "held"])
def killed(
    request: pytest.FixtureRequest, kind: str, runtime: PreparedRuntime, place: Path
) -> Iterator[Killed]:
    """kill -9. What of its cell does not end by itself is frozen, or an orphan."""
    mark = f"longshore-left-{os.getpid()}-{abs(hash(request.node.nodeid))}"
    root = Path(__file__).parents[2]
    given = [kind, str(place), str(runtime.directory.parent.parent), mark, request.param]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", SERVER, *given]
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
    ends = kind != "process" and request.param == "running"
    yield Killed(mark, ends, home, groups)
    open_home(place / "sandbox").close()


def test_what_a_killed_server_left_is_removed_at_the_next_start(killed: Killed, place: Path) -> None:
    assert not killed.ends or eventually_none(killed.mark)

    open_home(place / "sandbox").close()

    assert eventually_none(killed.mark)
    assert not killed.home.exists()
    assert [group for group in killed.groups if group.exists()] == []
    assert list((place / "sandbox").iterdir()) == []


def test_and_also_where_its_directory_is_gone(killed: Killed, kind: str, place: Path) -> None:
    shutil.rmtree(place / "sandbox")

    open_home(place / "another").close()

    assert [group for group in killed.groups if group.exists()] == []
    if kind != "process" or killed.groups:
        assert eventually_none(killed.mark)


def test_a_living_server_s_groups_are_not_taken_for_left_over(place: Path) -> None:
    first = open_home(place / "first")
    if not first.groups.places:
        pytest.skip("no control groups for us on this machine")

    open_home(place / "second").close()

    assert all(group.exists() for group in first.groups.places)
    first.close()
    assert not any(group.exists() for group in first.groups.places)


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
