# SPDX-License-Identifier: Apache-2.0
"""A runtime that is a fork of its launcher is like one that was started for its task."""

import signal
from collections.abc import Mapping
from typing import Any

import pytest
from tests.sandbox.cells import ENVIRONMENT, Bench, Heard, asked, listen, serving, until_exit

pytestmark = pytest.mark.anyio

EARLY = {**ENVIRONMENT, "EARLY": "1", "LANG": "C.UTF-8"}
BOTH = pytest.mark.parametrize("early", [EARLY, None], ids=["forked", "started"])
LOOK = """
import __main__, gc, os, random, signal, sys, threading

def handler(event, context):
    return {
        "main": [__main__.__name__, os.path.dirname(__main__.__file__), __main__.__spec__],
        "arguments": [os.path.dirname(sys.argv[0]), sys.argv[1:]],
        "flags": list(sys.flags),
        "path": sys.path,
        "environment": dict(os.environ),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": threading.active_count(),
        "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1],
        "here": os.getcwd(),
        "collects": gc.isenabled(),
        "files": [sys.stdin.encoding, sys.stdout.encoding, sys.stderr.errors],
        "victim": open("/proc/self/oom_score_adj").read(),
    }
"""


async def looked(bench: Bench, early: Mapping[str, str] | None) -> dict[str, Any]:
    """What a handler sees of its process."""
    cell = await bench.begun(LOOK, {"LANG": "C.UTF-8"}, early=early)
    try:
        async with serving(cell) as api:
            return dict(await asked(api))
    finally:
        await cell.kill()


async def test_a_fork_has_all_that_a_runtime_has_from_its_start(walled: Bench) -> None:
    forked, started = await looked(walled, EARLY), await looked(walled, None)

    assert forked == started
    assert forked["main"][0] == "__main__"


@BOTH
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_handlers_may_have_processes_of_every_kind(
    walled: Bench, early: Mapping[str, str] | None, method: str
) -> None:
    code = """
    import multiprocessing, os

    def square(number):
        return number * number

    def handler(event, context):
        with multiprocessing.get_context(os.environ["METHOD"]).Pool(2) as pool:
            return pool.map(square, range(4))
    """
    cell = await walled.begun(code, {"METHOD": method}, early=early, memory_mb=512)
    heard = Heard()
    try:
        async with serving(cell) as api:
            found = await asked(api)
        listen(cell, heard)
    finally:
        await cell.kill()

    assert found == [0, 1, 4, 9], heard.err.decode()


@BOTH
async def test_what_is_registered_for_the_end_runs_and_output_is_flushed(
    walled: Bench, early: Mapping[str, str] | None
) -> None:
    code = """
    import atexit, sys
    atexit.register(print, "at the end")
    sys.stdout.write("no end of line")
    sys.exit(7)
    """
    ended, heard = await walled.ran(code, early=early)

    assert ended.code == 7
    assert heard.out == b"no end of lineat the end\n"
    assert b"launcher" not in heard.err


@BOTH
async def test_a_signal_ends_it_as_it_ends_any_process(
    walled: Bench, early: Mapping[str, str] | None
) -> None:
    ended, _ = await walled.ran("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", early=early)

    assert ended.signal == signal.SIGTERM


async def test_numbers_that_are_drawn_differ_from_restart_to_restart(walled: Bench) -> None:
    code = """
    import random, uuid
    def handler(event, context):
        return [random.random(), str(uuid.uuid4())]
    """
    cell = await walled.begun(code, early=EARLY)
    found = []
    try:
        for _ in range(3):
            async with serving(cell) as api:
                found += await asked(api)
            await cell.clear()
            await cell.renew()
            await cell.resume({})
            await cell.assign(ENVIRONMENT, "app.handler")
    finally:
        await cell.kill()

    assert len(set(found)) == 6


async def test_a_runtime_whose_client_cannot_be_imported_says_so_in_its_log(walled: Bench) -> None:
    early = {**EARLY, "LAMBDA_RUNTIME_DIR": "/nowhere"}
    cell = await walled.begun("", {"LAMBDA_RUNTIME_DIR": "/nowhere"}, early=early)
    heard = Heard()
    try:
        ended = await until_exit(cell, heard)
    finally:
        await cell.kill()

    assert ended.code == 1
    assert b"awslambdaric" in heard.err
