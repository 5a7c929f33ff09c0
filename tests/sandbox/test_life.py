# SPDX-License-Identifier: Apache-2.0
"""A cell's life: it starts, says how its runtime ended, and leaves nothing behind, whatever handlers do."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.sandbox.cells import (
    ENVIRONMENT,
    Bench,
    Heard,
    eventually_none,
    listen,
    nothing_in,
    processes_with,
    until_exit,
    until_said,
    zombies,
)

from longshore.domain.errors import Invalid, Unavailable
from longshore.ports.sandbox import Exit
from longshore.runtime_api.server import Call, InitDone, Response, RuntimeApi

pytestmark = pytest.mark.anyio

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", code, os.environ["MARK"]], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", code, os.environ["MARK"]])
print("forked", flush=True)
"""


def mark(request: pytest.FixtureRequest) -> str:
    return f"longshore-mark-{os.getpid()}-{abs(hash(request.node.nodeid))}"


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_the_official_client_serves_an_event_through_the_door_inside(bench: Bench) -> None:
    code = """
    import os, boto3, sys
    def handler(event, context):
        with open(os.environ["OUTPUT_DIR"] + "/made.txt", "w") as file:
            file.write(event["text"])
        return {"path": sys.path, "here": os.getcwd(), "pythonpath": os.environ["PYTHONPATH"]}
    """
    cell = await bench.begun(code)
    api = RuntimeApi(cell.runtime_api)
    await api.start()
    try:
        ready = await asyncio.wait_for(api.ready(), 60)
        deadline = int(time.time() * 1000) + 60_000
        call = Call(request_id="run-1", deadline_ms=deadline, arn="arn:demo", event=b'{"text": "hey"}')
        answer = await asyncio.wait_for(api.invoke(call), 60)
        output = os.dup(cell.output())
    finally:
        await api.close()
        await cell.kill()

    assert isinstance(ready, InitDone)
    assert isinstance(answer, Response), answer
    found = json.loads(answer.payload)
    path = found["path"]
    assert path[0] == found["here"]
    assert path[1:3] == ["/opt/python/lib/" + bench.runtime.id + "/site-packages", "/opt/python"]
    assert path[3] == found["pythonpath"]
    try:
        file = os.open("made.txt", os.O_RDONLY, dir_fd=output)
        assert os.read(file, 100) == b"hey"
        os.close(file)
    finally:
        os.close(output)


async def test_a_package_s_own_modules_do_not_stand_in_for_the_standard_library_s(bench: Bench) -> None:
    package = bench.package("import os, queue\nprint(queue.MINE, flush=True)\nos._exit(0)")
    (package / "queue.py").write_text("MINE = 'mine'")
    (package / "logging.py").write_text("raise SystemExit('this is not the logging that you look for')")

    ended, heard = await bench.ran("", package_dir=package)

    assert (ended.code, heard.out.strip()) == (0, b"mine"), heard.err


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os; os._exit(3)", Exit(code=3)),
        ("import os; os._exit(0)", Exit(code=0)),
        ("import os; os._exit(200)", Exit(code=200)),
        ("import os; os.abort()", Exit(signal=signal.SIGABRT)),
        ("import ctypes; ctypes.string_at(8)", Exit(signal=signal.SIGSEGV)),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Exit(signal=signal.SIGKILL)),
    ],
)
async def test_the_end_is_told_as_it_was(bench: Bench, code: str, expected: Exit) -> None:
    ended, _ = await bench.ran(code)

    assert ended == expected


async def test_both_streams_arrive_apart(bench: Bench) -> None:
    _, heard = await bench.ran(
        "import os, sys\nprint('to out', flush=True)\nprint('to err', file=sys.stderr)\nos._exit(0)"
    )

    assert (heard.out, heard.err) == (b"to out\n", b"to err\n")


async def test_inputs_are_there_to_be_read_only(bench: Bench) -> None:
    (bench.place / "some.jtl").write_text("a,b\n")
    code = """
    import os
    where = os.environ["INPUT_DIR"]
    print(open(where + "/some.jtl").read().strip(), open(where + "/deep/er.jtl").read().strip(), flush=True)
    os._exit(0)
    """
    inputs = {"some.jtl": bench.place / "some.jtl", "deep/er.jtl": bench.place / "some.jtl"}

    _, heard = await bench.ran(code, inputs=inputs)

    assert heard.out == b"a,b a,b\n", heard.err


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", ""])
async def test_an_input_stays_in_its_directory(bench: Bench, name: str) -> None:
    (bench.place / "some.jtl").write_text("a,b\n")

    with pytest.raises(Invalid, match="input"):
        await bench.sandbox.launch(bench.spec(inputs={name: bench.place / "some.jtl"}))


async def test_term_lets_the_runtime_tidy_up(bench: Bench) -> None:
    code = """
    import os, signal, time
    def tidy(*_):
        print("tidied", flush=True)
        os._exit(5)
    signal.signal(signal.SIGTERM, tidy)
    print("ready", flush=True)
    time.sleep(600)
    """
    heard = Heard()
    cell = await bench.begun(code)
    try:
        await until_said(cell, heard, b"ready")

        await cell.terminate()

        ended = await until_exit(cell, heard)
        await cell.terminate()
    finally:
        await cell.kill()
    await cell.terminate()
    assert ended == Exit(code=5)
    assert b"tidied" in heard.out


async def test_kill_leaves_nobody_however_they_resist(bench: Bench, request: pytest.FixtureRequest) -> None:
    code = STUBBORN + "time.sleep(600)"
    cell = await bench.begun(code, {"MARK": mark(request)})
    try:
        await until_said(cell, Heard(), b"forked")
        async with asyncio.timeout(20):
            while len(processes_with(mark(request))) < 4:
                await asyncio.sleep(0.01)
        await cell.terminate()
        await asyncio.sleep(0.1)
        still = len(processes_with(mark(request)))
    finally:
        began = time.monotonic()
        await cell.kill()
        took = time.monotonic() - began

    assert still == 4
    assert processes_with(mark(request)) == []
    assert took < 5
    assert await cell.exited() == Exit(signal=signal.SIGKILL)


async def test_daemons_of_a_runtime_that_has_ended_are_killed_too(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    code = STUBBORN + "time.sleep(0.3)\nos._exit(0)"

    ended, _ = await bench.ran(code, environment={"MARK": mark(request)})

    assert ended == Exit(code=0)
    assert processes_with(mark(request)) == []


async def test_a_handler_that_stops_itself_and_its_launcher_is_killed(bench: Bench) -> None:
    code = """
    import os, signal
    print("stopping", flush=True)
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    """
    cell = await bench.begun(code)
    await until_said(cell, Heard(), b"stopping")
    await cell.terminate()

    await asyncio.wait_for(cell.kill(), 5)

    assert await cell.exited() == Exit(signal=signal.SIGKILL)


async def test_a_handler_that_kills_its_launcher_ends_with_it(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    code = """
    import os, signal, sys, time
    os.kill(os.getppid(), signal.SIGKILL)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", os.environ["MARK"]])
    """

    ended, _ = await bench.ran(code, environment={"MARK": mark(request)})

    assert ended == Exit(signal=signal.SIGKILL)
    assert eventually_none(mark(request))


async def test_nothing_is_left_of_a_cell(bench: Bench) -> None:
    await bench.ran("import os; os._exit(0)")
    before = open_descriptors()
    mounts = Path("/proc/self/mountinfo").read_text()

    await bench.ran("import os; os._exit(0)")

    assert open_descriptors() == before
    assert zombies() == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    home = next((bench.place / "sandbox").iterdir())
    assert nothing_in(home / "cells")
    groups = [line for line in (home / "groups").read_text().splitlines() if os.path.isdir(line)]
    assert [entry for group in groups for entry in os.scandir(group) if entry.is_dir()] == []


async def test_killing_again_is_harmless_and_everybody_waits_for_the_end(bench: Bench) -> None:
    cell = await bench.begun("import time\ntime.sleep(600)")

    await asyncio.gather(cell.kill(), cell.kill())
    await cell.kill()

    assert cell.runtime_api.fileno() == -1


async def test_asking_for_the_end_may_be_cancelled_and_repeated(bench: Bench) -> None:
    cell = await bench.begun("import time\ntime.sleep(0.5)\nraise SystemExit(4)")
    try:
        first = asyncio.ensure_future(cell.exited())
        await asyncio.sleep(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first

        ended = await asyncio.gather(cell.exited(), cell.exited())
    finally:
        await cell.kill()

    assert ended[0] == ended[1]
    assert ended[0].code is not None


async def test_what_a_dead_cell_wrote_can_be_read_by_whoever_holds_on_to_it(bench: Bench) -> None:
    cell = await bench.begun(
        "import os\nopen(os.environ['OUTPUT_DIR'] + '/kept', 'w').write('kept')\nprint('done', flush=True)\n"
        "import time\ntime.sleep(600)"
    )
    await until_said(cell, Heard(), b"done")
    held = os.dup(cell.output())
    try:
        await cell.kill()

        file = os.open("kept", os.O_RDONLY, dir_fd=held)
        content = os.read(file, 10)
        os.close(file)
    finally:
        os.close(held)

    assert content == b"kept"


async def test_a_cell_has_one_handler_in_its_life(bench: Bench) -> None:
    cell = await bench.begun("import time\ntime.sleep(600)")
    try:
        with pytest.raises(Unavailable, match="fresh"):
            await cell.assign(ENVIRONMENT, "app.handler")
    finally:
        await cell.kill()
    with pytest.raises(Unavailable, match="fresh"):
        await cell.assign(ENVIRONMENT, "app.handler")


async def test_an_environment_with_a_nul_is_refused(bench: Bench) -> None:
    cell = await bench.sandbox.launch(bench.spec())
    try:
        with pytest.raises(Invalid, match="NUL"):
            await cell.assign({**ENVIRONMENT, "ODD": "a\0b"}, "app.handler")
    finally:
        await cell.kill()


async def test_any_other_value_arrives_as_it_is(bench: Bench) -> None:
    odd = "line\nbreak, ünïcödé ☃, a=b, " + "x" * 100_000
    code = "import os\nprint(os.environ['ODD'] == ODD, flush=True)\nos._exit(0)"

    _, heard = await bench.ran(f"ODD = {odd!r}\n{code}", environment={"ODD": odd})

    assert heard.out == b"True\n", heard.err


async def test_a_cell_that_waits_for_work_can_be_killed(bench: Bench) -> None:
    cell = await bench.sandbox.launch(bench.spec())

    await cell.kill()

    assert await cell.exited() == Exit(signal=signal.SIGKILL)


async def test_twenty_cells_live_at_once(bench: Bench) -> None:
    code = "import os\nprint(os.environ['WHO'], flush=True)\nimport time\ntime.sleep(600)"
    package = bench.package(code)
    cells = await asyncio.gather(
        *(bench.begun("", {"WHO": f"cell {number}"}, package_dir=package) for number in range(20))
    )
    heards = [Heard() for _ in cells]
    try:
        await asyncio.gather(
            *(until_said(cell, heard, b"\n", within=90) for cell, heard in zip(cells, heards, strict=True))
        )
    finally:
        await asyncio.gather(*(cell.kill() for cell in cells))

    assert [heard.out for heard in heards] == [f"cell {number}\n".encode() for number in range(20)]
    assert zombies() == []


async def test_a_launch_that_is_cancelled_leaves_nothing(bench: Bench) -> None:
    before = open_descriptors()
    spec = bench.spec()
    for delay in (0.0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.04):
        launching = asyncio.ensure_future(bench.sandbox.launch(spec))
        await asyncio.sleep(delay)
        launching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await launching).kill()

    async with asyncio.timeout(10):
        while open_descriptors() != before:
            await asyncio.sleep(0.01)
    assert zombies() == []
    assert processes_with(f"{spec.package_dir} /var/task") == []
    assert processes_with(f"{bench.place}/sandbox") == []


async def test_a_launch_that_fails_says_why_and_leaves_nothing(bench: Bench) -> None:
    before = open_descriptors()
    missing = bench.place / "no-such-package"

    with pytest.raises(Unavailable, match="no-such-package"):
        await bench.sandbox.launch(bench.spec(package_dir=missing))

    assert open_descriptors() == before
    assert zombies() == []


async def test_closing_kills_what_is_left(bench: Bench, request: pytest.FixtureRequest) -> None:
    cell = await bench.begun(STUBBORN + "time.sleep(600)", {"MARK": mark(request)})
    await until_said(cell, Heard(), b"forked")

    await bench.sandbox.close()

    assert eventually_none(mark(request))
    with pytest.raises(OSError, match="descriptor"):
        listen(cell, Heard())
