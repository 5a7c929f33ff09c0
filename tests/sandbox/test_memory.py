# SPDX-License-Identifier: Apache-2.0
"""The memory limit: whoever passes it is ended, and everybody can tell that this was why."""

import pytest
from tests.sandbox.cells import Bench, Heard, until_exit

pytestmark = pytest.mark.anyio


async def test_too_much_memory_ends_everything_and_is_called_so(bench: Bench) -> None:
    code = """
    import os, time
    hold = []
    while True:
        hold.append(bytearray(os.urandom(1)) * 2**22)
        time.sleep(0.002)
    """
    cell = await bench.begun(code, memory_mb=96)
    try:
        ended = await until_exit(cell, Heard())
        used = cell.usage()
    finally:
        await cell.kill()

    assert ended.oom_killed
    assert ended.signal == 9
    assert used.peak_memory_mb > 80
    assert (await cell.exited()).oom_killed


async def test_the_kernel_s_own_limit_is_called_so_too(walled: Bench) -> None:
    if walled.sandbox.isolation.level != "strict":
        pytest.skip("no memory control group in this kind, as its words say")

    ended, _ = await walled.ran("hold = [bytearray(2**30) for _ in range(64)]", memory_mb=64, disk_mb=1)

    assert ended.oom_killed


async def test_a_child_that_takes_too_much_counts_as_well(bench: Bench) -> None:
    code = """
    import os, time
    if os.fork() == 0:
        hold = []
        while True:
            hold.append(b"x" * 2**22)
            time.sleep(0.002)
    time.sleep(600)
    """

    ended, _ = await bench.ran(code, memory_mb=96)

    assert ended.oom_killed


async def test_memory_that_forks_share_counts_once(bench: Bench) -> None:
    code = """
    import os, time
    hold = b"x" * (100 * 2**20)
    for _ in range(4):
        if os.fork() == 0:
            time.sleep(600)
    time.sleep(1)
    os._exit(0)
    """

    ended, heard = await bench.ran(code, memory_mb=256)

    assert ended.code == 0, (ended, heard.err)
    assert not ended.oom_killed


async def test_files_in_memory_do_not_count_against_the_task(walled: Bench) -> None:
    code = """
    import os
    for place in ("/tmp", "/output"):
        with open(place + "/file", "wb") as file:
            file.write(b"x" * (100 * 2**20))
    os._exit(0)
    """

    ended, heard = await walled.ran(code, memory_mb=160, disk_mb=128)

    assert ended.code == 0, (ended, heard.err)


async def test_a_short_handler_s_memory_is_a_python_s_and_not_the_page_cache(bench: Bench) -> None:
    code = """
    import os
    with open("/proc/self/exe", "rb") as file:
        file.read()
    os._exit(0)
    """
    cell = await bench.begun(code)
    try:
        await until_exit(cell, Heard())
    finally:
        await cell.kill()

    assert 8 < cell.usage().peak_memory_mb < 60
    assert cell.usage().cpu_ms > 5
