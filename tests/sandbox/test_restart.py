# SPDX-License-Identifier: Apache-2.0
"""Cells whose runtime gives way to another one: what is kept, and what of the first never reaches that."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping

import pytest
from tests.sandbox.cells import (
    ENVIRONMENT,
    Bench,
    Heard,
    asked,
    assigned,
    listen,
    processes_with,
    serving,
    until_exit,
    until_said,
    zombies,
)

from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import Cell
from longshore.runtime_api.server import InitDone

pytestmark = pytest.mark.anyio

LOOK = """
import os

count = 0

def handler(event, context):
    global count
    count += 1
    output, tmp, inputs = (os.environ[name] for name in ("OUTPUT_DIR", "HOME", "INPUT_DIR"))
    seen = [sorted(os.listdir(place)) for place in (output, tmp, inputs)]
    open(f"{output}/{count}", "w").close()
    open(f"{tmp}/{len(seen[1])}", "w").close()
    return [count, *seen]
"""
STAYS = """
import os, signal, subprocess, sys, time

been = os.environ["HOME"] + "/been"
if os.path.exists(been):
    print("second", flush=True)
    os._exit(0)
open(been, "w").close()
code = "import time\\nwhile True: print('late', flush=True); time.sleep(0.001)"
daemon = [sys.executable, "-c", code, os.environ["MARK"]]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(daemon)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, daemon)
    os._exit(0)
while True:
    print("late", flush=True)
"""
Early = Mapping[str, str] | None
ENVIRONMENTS = pytest.mark.parametrize("early", [ENVIRONMENT, None], ids=["ahead", "late"])


async def renewed(cell: Cell, **more: str) -> None:
    """Another runtime in the same cell."""
    await cell.clear()
    await cell.renew()
    await cell.resume({})
    await assigned(cell, more)


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A word that no other test's processes have."""
    return f"longshore-restart-{os.getpid()}-{abs(hash(request.node.nodeid))}"


@ENVIRONMENTS
async def test_globals_are_new_and_tmp_is_kept_output_and_inputs_are_not(bench: Bench, early: Early) -> None:
    (bench.place / "one.jtl").write_text("one")
    cell = await bench.begun(LOOK, early=early, inputs={"one.jtl": bench.place / "one.jtl"})
    found = []
    try:
        for _ in range(3):
            async with serving(cell) as api:
                found += [await asked(api), await asked(api)]
            await renewed(cell)
    finally:
        await cell.kill()

    assert [one[0] for one in found] == [1, 2, 1, 2, 1, 2]
    assert [len(one[2]) for one in found] == [0, 1, 2, 3, 4, 5]
    assert [one[1] for one in found] == [[], ["1"]] * 3
    assert [one[3] for one in found] == [["one.jtl"]] * 2 + [[]] * 4


async def test_the_second_runtime_has_the_environment_it_is_given(walled: Bench) -> None:
    code = "import os\ndef handler(event, context):\n    return dict(os.environ)\n"
    found = []
    for early in ({**ENVIRONMENT, "EARLY": "1"}, None):
        cell = await walled.begun(code, {"MINE": "first"}, early=early)
        try:
            await renewed(cell, MINE="second")
            async with serving(cell) as api:
                found.append(await asked(api))
        finally:
            await cell.kill()

    assert found[0]["MINE"] == "second"
    assert "EARLY" not in found[0]
    del found[1]["LC_CTYPE"]  # the interpreter's own, for it has found the environment without a language
    assert found[0] == found[1]


@ENVIRONMENTS
async def test_whoever_the_first_left_running_is_gone_and_never_heard_again(
    bench: Bench, early: Early, mark: str
) -> None:
    cell = await bench.begun(STAYS, {"MARK": mark}, early=early)
    heard = Heard()
    try:
        while len(processes_with(mark)) < 2:
            await asyncio.sleep(0.01)
            listen(cell, heard)
        await cell.clear()
        alive = processes_with(mark)
        ended = await cell.exited()
        await cell.renew()
        listen(cell, heard := Heard())
        silent = heard.out
        await cell.resume({})
        await assigned(cell, {"MARK": mark})
        await until_exit(cell, heard)
    finally:
        await cell.kill()

    assert alive == []
    assert ended.signal == signal.SIGKILL
    assert silent == b""
    assert heard.out == b"second\n"


@ENVIRONMENTS
async def test_a_runtime_that_ended_by_itself_gives_way_too(bench: Bench, early: Early) -> None:
    cell = await bench.begun(
        "import os\nif not os.path.exists(os.environ['HOME'] + '/been'):\n"
        "    open(os.environ['HOME'] + '/been', 'w').close()\n    os._exit(7)\n"
        "def handler(event, context):\n    return 'second'\n"
    )
    try:
        first = await asyncio.wait_for(cell.exited(), 30)
        await renewed(cell)
        second = asyncio.ensure_future(cell.exited())
        async with serving(cell) as api:
            answer = await asked(api)
            assert not second.done()
        await cell.kill()
    finally:
        await cell.kill()

    assert first.code == 7
    assert answer == "second"
    assert (await second).signal == signal.SIGKILL


@ENVIRONMENTS
async def test_usage_of_the_second_begins_at_nothing(bench: Bench, early: Early) -> None:
    code = """
    import os, time
    been = os.environ["HOME"] + "/been"
    def handler(event, context):
        if not os.path.exists(been):
            open(been, "w").close()
            kept = bytearray(80 * 2**20)
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
            os._exit(1)
    """
    cell = await bench.begun(code, early=early)
    try:
        async with serving(cell) as api:
            asking = asyncio.ensure_future(asked(api))
            await asyncio.wait_for(cell.exited(), 30)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await cell.clear()
        first = cell.usage()
        await cell.renew()
        await cell.resume({})
        await assigned(cell)
        async with serving(cell) as api:
            await asked(api)
            second = cell.usage()
    finally:
        await cell.kill()

    assert first.peak_memory_mb > 80
    assert first.cpu_ms >= 290
    assert 1 < second.peak_memory_mb < 60
    assert second.cpu_ms < 250


@ENVIRONMENTS
async def test_what_the_first_asked_of_a_door_that_nobody_opened_is_not_the_second_s(
    bench: Bench, early: Early
) -> None:
    code = """
    import os, socket, time
    been = os.environ["HOME"] + "/been"
    if not os.path.exists(been):
        open(been, "w").close()
        host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
        calls = [socket.create_connection((host, int(port))) for _ in range(20)]
        for call in calls:
            call.sendall(b"POST /2018-06-01/runtime/init/error HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
        print("asked", flush=True)
        time.sleep(600)
    def handler(event, context):
        return "second"
    """
    cell = await bench.begun(code, early=early)
    try:
        await until_said(cell, Heard(), b"asked")
        await renewed(cell)
        async with serving(cell) as api:
            ready = await asyncio.wait_for(api.ready(), 30)
            answer = await asked(api)
    finally:
        await cell.kill()

    assert ready == InitDone()
    assert answer == "second"


@ENVIRONMENTS
async def test_the_second_s_pipes_block_whatever_the_first_made_of_them(bench: Bench, early: Early) -> None:
    code = """
    import fcntl, os
    def handler(event, context):
        before = [os.get_blocking(1), os.get_blocking(2)]
        os.set_blocking(1, False)
        os.set_blocking(2, False)
        return before
    """
    cell = await bench.begun(code, early=early)
    found = []
    try:
        for _ in range(3):
            async with serving(cell) as api:
                found.append(await asked(api))
            await renewed(cell)
    finally:
        await cell.kill()

    assert found == [[True, True]] * 3


async def test_processes_that_multiply_are_ended(walled: Bench, mark: str) -> None:
    code = """
    import os, sys, time
    been = "/tmp/been"
    def handler(event, context):
        if os.path.exists(been):
            return "second"
        open(been, "w").close()
        print("begun", flush=True)
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """
    cell = await walled.begun(code, {"MARK": mark}, early=ENVIRONMENT, pids=40)
    try:
        async with serving(cell) as api:
            asking = asyncio.ensure_future(asked(api))
            await until_said(cell, Heard(), b"begun")
            await asyncio.sleep(0.2)
            await cell.clear()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await cell.renew()
        await cell.resume({})
        await assigned(cell)
        async with serving(cell) as api:
            assert await asked(api) == "second"
    finally:
        await cell.kill()


async def test_limits_hold_after_a_restart(walled: Bench) -> None:
    code = "def handler(event, context):\n    return len(b'x' * (300 * 2**20))\n"
    cell = await walled.begun(code, early=ENVIRONMENT, memory_mb=64, cpus=0.5)
    try:
        await renewed(cell)
        async with serving(cell) as api:
            asking = asyncio.ensure_future(asked(api))
            ended = await asyncio.wait_for(cell.exited(), 30)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert ended.oom_killed
        assert cell.over_limit()
    finally:
        await cell.kill()


async def test_a_cell_whose_launcher_does_not_obey_cannot_be_cleared(bench: Bench) -> None:
    code = """
    import os, signal, time
    os.kill(os.getppid(), signal.SIGSTOP)
    print("stopped", flush=True)
    time.sleep(600)
    """
    cell = await bench.begun(code)
    try:
        await until_said(cell, Heard(), b"stopped")
        with pytest.raises(Unavailable):
            await cell.clear()
        with pytest.raises(Unavailable):
            await cell.renew()
    finally:
        await asyncio.wait_for(cell.kill(), 30)


@pytest.mark.parametrize("step", ["clear", "renew"])
async def test_a_cell_that_is_killed_half_way_leaves_nothing(bench: Bench, step: str, mark: str) -> None:
    cell = await bench.begun(STAYS, {"MARK": mark}, early=ENVIRONMENT)
    await until_said(cell, Heard(), b"late")
    if step == "renew":
        await cell.clear()
    work = asyncio.ensure_future(cell.clear() if step == "clear" else cell.renew())
    await asyncio.sleep(0.005)

    await asyncio.wait_for(cell.kill(), 30)

    with contextlib.suppress(Unavailable):
        await asyncio.wait_for(work, 30)
    assert processes_with(mark) == []
    with pytest.raises(Unavailable):
        await cell.resume({})
    assert zombies() == []
