# SPDX-License-Identifier: Apache-2.0
"""Cells that boot before their task is known, and cells that wait between two runs of one task."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.sandbox.cells import (
    ENVIRONMENT,
    Bench,
    Heard,
    asked,
    assigned,
    eventually_none,
    listen,
    nothing_in,
    processes_with,
    serving,
    until_said,
    zombies,
)

from longshore.adapters.sandbox import kin
from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import Cell, CellSpec

pytestmark = pytest.mark.anyio

LOOK = """
import os

count = 0

def handler(event, context):
    global count
    count += 1
    seen = sorted(os.listdir("/output")), sorted(os.listdir("/tmp"))
    open(f"/output/{count}", "w").close()
    open(f"/tmp/{count}", "w").close()
    return {"count": count, "output": seen[0], "tmp": seen[1], "file": __file__, "here": os.getcwd()}
"""
TICKS = """
import os, subprocess, sys, threading, time

def tick(word):
    while True:
        print(word, flush=True)
        time.sleep(0.01)

def handler(event, context):
    threading.Thread(target=tick, args=("thread",), daemon=True).start()
    code = "import time, sys\\nwhile True: print('daemon', flush=True); time.sleep(0.01)"
    subprocess.Popen([sys.executable, "-c", code, os.environ["MARK"]], start_new_session=True)
    time.sleep(0.3)
"""


@contextlib.asynccontextmanager
async def prepared(bench: Bench, spec: CellSpec) -> AsyncIterator[Cell]:
    """A cell that has booted ahead of anything of the specification but its frame."""
    cell = await bench.sandbox.prepare(spec.frame, ENVIRONMENT)
    assert cell is not None
    try:
        yield cell
    finally:
        await cell.kill()


async def test_a_package_moves_into_a_cell_that_has_booted(walled: Bench) -> None:
    code = """
    import os
    def handler(event, context):
        try:
            open("/var/task/more", "w")
        except OSError as error:
            refused = error.errno
        return {"file": __file__, "here": os.getcwd(), "link": open("link").read(), "refused": refused}
    """
    package = walled.package(code)
    (package / "deep" / "er").mkdir(parents=True)
    (package / "deep" / "er" / "some.txt").write_text("some")
    (package / "link").symlink_to("deep/er/some.txt")
    spec = walled.spec(package_dir=package)
    async with prepared(walled, spec) as cell:
        await cell.furnish(spec)
        async with serving(cell) as api:
            await assigned(cell)
            found = await asked(api)

    assert found == {"file": "/var/task/app.py", "here": "/var/task", "link": "some", "refused": 30}
    assert (package / "deep" / "er" / "some.txt").read_text() == "some"


async def test_what_a_cell_gives_back_serves_the_next_one(walled: Bench) -> None:
    spec = walled.spec(LOOK)
    for _ in range(3):
        async with prepared(walled, spec) as cell:
            await cell.furnish(spec)
            async with serving(cell) as api:
                await assigned(cell)
                assert (await asked(api))["count"] == 1

    home = next((walled.place / "sandbox").iterdir())
    assert len(list((home / "copies").iterdir())) == 1
    assert nothing_in(home / "cells")
    assert spec.package_dir is not None
    assert [file.name for file in spec.package_dir.iterdir() if file.suffix == ".py"] == ["app.py"]


async def test_the_environment_is_exactly_the_task_s(walled: Bench) -> None:
    spec = walled.spec("import os\ndef handler(event, context):\n    return dict(os.environ)\n")
    cell = await walled.sandbox.prepare(spec.frame, {**ENVIRONMENT, "EARLY": "1"})
    assert cell is not None
    try:
        await cell.furnish(spec)
        async with serving(cell) as api:
            await assigned(cell, {"MINE": "ünïcödé ☃" + "x" * 100_000})
            found = await asked(api)
    finally:
        await cell.kill()

    assert found.pop("MINE") == "ünïcödé ☃" + "x" * 100_000
    assert found.pop("PYTHONPATH") == "/var/runtime"
    assert {name: value for name, value in found.items() if name != "LC_CTYPE"} == ENVIRONMENT


async def test_inputs_come_with_each_run_and_go(walled: Bench) -> None:
    (walled.place / "one.jtl").write_text("one")
    code = """
    import pathlib
    def handler(event, context):
        root = pathlib.Path("/var/input")
        return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}
    """
    spec = walled.spec(code, inputs={"a/b.jtl": walled.place / "one.jtl"})
    async with prepared(walled, spec) as cell:
        await cell.furnish(spec)
        async with serving(cell) as api:
            await assigned(cell)
            found = [await asked(api)]
            for inputs in ({"c.jtl": walled.place / "one.jtl"}, {}, {"a": walled.place / "one.jtl"}):
                await cell.rest()
                await cell.resume(inputs)
                found.append(await asked(api))

    assert found == [{"a/b.jtl": "one"}, {"c.jtl": "one"}, {}, {"a": "one"}]


async def test_the_limits_are_those_of_the_task_that_came(walled: Bench) -> None:
    if walled.sandbox.isolation.level != "strict":
        pytest.skip("the kernel limits nothing here without control groups")
    spec = walled.spec("def handler(event, context):\n    pass\n", memory_mb=77, cpus=0.5)
    async with prepared(walled, spec) as cell:
        before = limits_of(walled)
        await cell.furnish(spec)
        after = limits_of(walled)

    assert after != before
    assert after["memory"] - before["memory"] == (77 - 128) * 2**20
    assert (before["cpu"], after["cpu"]) == (100_000, 50_000)


def limits_of(bench: Bench) -> dict[str, int]:
    """Of the one cell's control group, of either version."""
    home = next((bench.place / "sandbox").iterdir())
    cells = [
        group
        for line in (home / "groups").read_text().splitlines()
        for group in Path(line).iterdir()
        if group.is_dir()
    ]
    found = {}
    for group in cells:
        for key, name in (("memory", "memory.max"), ("memory", "memory.limit_in_bytes")):
            if (group / name).exists():
                found[key] = int((group / name).read_text())
        for name in ("cpu.max", "cpu.cfs_quota_us"):
            if (group / name).exists():
                found["cpu"] = int((group / name).read_text().split()[0])
    return found


async def test_too_much_memory_ends_a_run_in_a_prepared_cell(walled: Bench) -> None:
    spec = walled.spec(
        "import time\ndef handler(event, context):\n    kept = b'x' * (300 * 2**20)\n    time.sleep(60)\n",
        memory_mb=64,
    )
    async with prepared(walled, spec) as cell:
        await cell.furnish(spec)
        async with serving(cell) as api:
            await assigned(cell)
            asking = asyncio.ensure_future(asked(api))
            ended = await asyncio.wait_for(cell.exited(), 30)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    assert ended.oom_killed


async def test_globals_and_tmp_stay_and_output_does_not(bench: Bench) -> None:
    code = """
    import os
    count = 0
    def handler(event, context):
        global count
        count += 1
        output, tmp = os.environ["OUTPUT_DIR"], os.environ["HOME"]
        seen = os.listdir(output), sorted(os.listdir(tmp))
        os.makedirs(f"{output}/{count}/closed")
        open(f"{output}/{count}/closed/file", "w").close()
        os.chmod(f"{output}/{count}/closed", 0)
        open(f"{tmp}/{count}", "w").close()
        return [count, *seen]
    """
    cell = await bench.begun(code)
    try:
        async with serving(cell) as api:
            found = [await asked(api)]
            for rests in (True, False, True):
                if rests:
                    await cell.rest()
                    assert os.listdir(cell.output()) == []
                await cell.resume({})
                found.append(await asked(api))
    finally:
        await cell.kill()

    assert found == [[1, [], []], [2, [], ["1"]], [3, [], ["1", "2"]], [4, [], ["1", "2", "3"]]]


async def test_nothing_moves_while_a_cell_rests(bench: Bench, request: pytest.FixtureRequest) -> None:
    mark = f"longshore-rest-{os.getpid()}-{abs(hash(request.node.nodeid))}"
    cell = await bench.begun(TICKS, {"MARK": mark})
    heard = Heard()
    try:
        async with serving(cell) as api:
            await asked(api)
            assert cell.has_strays()
            await cell.rest()
            listen(cell, heard)
            before = heard.out
            await asyncio.sleep(0.3)
            listen(cell, heard)
            held = heard.out
            await cell.resume({})
            heard.out = b""
            await until_said(cell, heard, b"thread")
            await until_said(cell, heard, b"daemon")
            await cell.rest()
    finally:
        await cell.kill()

    assert b"thread" in before
    assert b"daemon" in before
    assert held == before
    assert processes_with(mark) == []


async def test_usage_is_that_of_each_run(bench: Bench) -> None:
    code = """
    import time
    calls = 0
    def handler(event, context):
        global calls
        calls += 1
        if calls == 1:
            kept = bytearray(80 * 2**20)
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
    """
    cell = await bench.begun(code)
    try:
        async with serving(cell) as api:
            await asked(api)
            first = cell.usage()
            await cell.rest()
            await cell.resume({})
            await asked(api)
            second = cell.usage()
    finally:
        await cell.kill()

    assert first.peak_memory_mb > 80
    assert first.cpu_ms >= 290
    assert 1 < second.peak_memory_mb < 60
    assert second.cpu_ms < 200


async def test_a_cell_that_ended_while_it_rested_says_so(bench: Bench) -> None:
    cell = await bench.begun("def handler(event, context):\n    pass\n")
    async with serving(cell) as api:
        await asked(api)
        await cell.rest()
        await cell.kill()
        with pytest.raises(Unavailable):
            await cell.resume({})


async def test_only_a_prepared_cell_takes_a_package(bench: Bench) -> None:
    cell = await bench.sandbox.launch(bench.spec())
    try:
        with pytest.raises(Unavailable, match="prepared"):
            await cell.furnish(bench.spec())
    finally:
        await cell.kill()


async def test_a_cell_that_waits_for_its_task_can_be_killed_and_leaves_nothing(walled: Bench) -> None:
    spec = walled.spec()
    cell = await walled.sandbox.prepare(spec.frame, ENVIRONMENT)
    assert cell is not None

    await cell.kill()

    home = next((walled.place / "sandbox").iterdir())
    assert nothing_in(home / "cells")
    assert zombies() == []
    assert processes_with(f"{walled.place}/sandbox") == []
    assert (await cell.exited()).signal == signal.SIGKILL


async def test_a_cell_that_waits_takes_less_than_20_mb(walled: Bench) -> None:
    """Pages that several processes have count once. A way out, pasta's process, is not in it."""
    cell = await walled.sandbox.prepare(walled.spec().frame, ENVIRONMENT)
    assert cell is not None
    try:
        [bwrap] = [pid for pid in kin.naming(f"{walled.place}/sandbox") if os.getpid() == parent_of(pid)]
        everybody = kin.descendants(bwrap)
        most = 0
        for _ in range(20):
            await asyncio.sleep(0.05)  # it rehearses, which nobody hears of
            most = max(most, sum(proportional_kb(pid) for pid in everybody))
    finally:
        await cell.kill()

    assert len(everybody) == 4
    assert 5 * 1024 < most < 20 * 1024


def parent_of(pid: int) -> int:
    """The number of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def proportional_kb(pid: int) -> int:
    """A process's memory, with its share of what others have mapped too."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def test_cells_rest_through_the_end_of_their_sandbox(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    mark = f"longshore-held-{os.getpid()}-{abs(hash(request.node.nodeid))}"
    cell = await bench.begun(TICKS, {"MARK": mark})
    async with serving(cell) as api:
        await asked(api)
        await cell.rest()

    await bench.sandbox.close()

    assert eventually_none(mark)
