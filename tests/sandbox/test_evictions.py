# SPDX-License-Identifier: Apache-2.0
"""When environments that wait, and cells that have booted ahead, give back what they take."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.sandbox.cells import ENVIRONMENT, Bench, asked, assigned, processes_with

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cgroups import kill_all
from longshore.domain.ids import Digest, ProjectId
from longshore.domain.network import Network
from longshore.domain.task import Limits
from longshore.domain.warm import WarmKey
from longshore.interceptor.platform_door import PlatformDoor
from longshore.interceptor.pool import CELL_MB, Pool
from longshore.interceptor.warm import Environment, Environments
from longshore.ports.sandbox import Cell, CellSpec
from longshore.runtime_api.server import RuntimeApi

pytestmark = pytest.mark.anyio

HANDLER = """
import os
count = 0
def handler(event, context):
    global count
    count += 1
    return count
"""
SOON = 60


def a_key(task: str, memory_mb: int = 128, revision: int = 1) -> WarmKey:
    """A key that differs from others by its task."""
    return WarmKey(
        project_id=ProjectId("p"),
        task=task,
        revision=revision,
        package=Digest("c" * 64),
        runtime="python3.11",
        limits=Limits(memory_mb=memory_mb),
        network=Network(),
        fingerprint=b"",
    )


async def served(bench: Bench, key: WarmKey) -> Environment:
    """An environment that has served a run."""
    cell = await bench.begun(HANDLER, early=ENVIRONMENT)
    environment = Environment(
        cell,
        RuntimeApi(cell.runtime_api),
        key,
        PlatformDoor("http://127.0.0.1:9", cell.platform, True),
    )
    await environment.open()
    assert await asked(environment.api) == 1
    return environment


async def ended(cell: Cell) -> None:
    """Wait until it is over."""
    await asyncio.wait_for(cell.exited(), SOON)
    await asyncio.wait_for(cell.kill(), SOON)


@pytest.fixture
async def keeper() -> AsyncIterator[Environments]:
    """One with room for 300 MB, that waits for nobody's return."""
    one = Environments(300)
    yield one
    await one.close()


async def test_an_environment_that_nobody_comes_for_ends(walled: Bench) -> None:
    keeper = Environments(1024, idle_s=0.1)
    environment = await served(walled, a_key("idle"))

    assert keeper.keep(environment, 30)

    await ended(environment.cell)
    assert not keeper.has(environment.key)
    assert processes_with(f"{walled.place}/sandbox") == []
    await keeper.close()


async def test_one_that_was_restarted_and_is_not_used_ends_too(walled: Bench) -> None:
    keeper = Environments(1024, idle_s=0.1)
    environment = await served(walled, a_key("idle"))
    await environment.cell.clear()
    first = await environment.cell.exited()

    assert keeper.restart(environment)

    async with asyncio.timeout(SOON):
        while keeper.has(environment.key):
            await asyncio.sleep(0.01)
    await ended(environment.cell)
    assert first.signal is not None
    assert processes_with(f"{walled.place}/sandbox") == []
    await keeper.close()


async def test_time_in_use_is_no_idle_time(walled: Bench) -> None:
    keeper = Environments(1024, idle_s=0.05)
    environment = await served(walled, a_key("used"))
    assert keeper.keep(environment, 30)

    assert await keeper.take(environment.key) is environment
    await asyncio.sleep(0.3)

    await environment.cell.resume({})
    assert await asked(environment.api, "second") == 2
    await environment.end()
    await keeper.close()


async def test_memory_that_a_run_wants_is_taken_from_those_that_wait_longest(
    walled: Bench, keeper: Environments
) -> None:
    old, new = [await served(walled, a_key(name)) for name in ("old", "new")]
    assert keeper.keep(old, 100)
    assert keeper.keep(new, 100)

    async with keeper.room(a_key("small", memory_mb=100)):
        assert [keeper.has(one.key) for one in (old, new)] == [True, True]
    async with keeper.room(a_key("wants", memory_mb=150)):
        assert [keeper.has(one.key) for one in (old, new)] == [False, True]
        await ended(old.cell)
        async with keeper.room(a_key("wants-too", memory_mb=100)):
            assert not keeper.has(new.key)
            await ended(new.cell)


async def test_a_run_does_not_push_out_the_environment_that_it_is_going_to_use(
    walled: Bench, keeper: Environments
) -> None:
    mine = await served(walled, a_key("mine", memory_mb=300))
    assert keeper.keep(mine, 250)

    async with keeper.room(mine.key):
        assert await keeper.take(mine.key) is mine

    await mine.end()


async def test_more_than_so_many_are_not_kept(walled: Bench) -> None:
    keeper = Environments(4096, most=2)
    kept = [await served(walled, a_key(name)) for name in ("one", "two", "three")]

    for environment in kept:
        assert keeper.keep(environment, 10)

    await ended(kept[0].cell)
    assert [keeper.has(one.key) for one in kept] == [False, True, True]
    await keeper.close()


async def test_a_newer_revision_ends_the_older_one_and_not_the_other_way_round(
    walled: Bench, keeper: Environments
) -> None:
    first, second = [await served(walled, a_key("grows", revision=number)) for number in (1, 2)]
    assert keeper.keep(first, 10)
    assert keeper.keep(second, 10)

    assert await keeper.take(first.key) is first
    assert keeper.has(second.key)
    assert keeper.keep(first, 10)
    assert await keeper.take(second.key) is second

    await ended(first.cell)
    await second.end()


async def test_one_that_has_ended_while_it_waited_is_forgotten(walled: Bench, keeper: Environments) -> None:
    environment = await served(walled, a_key("dies"))
    assert keeper.keep(environment, 10)

    await environment.cell.kill()

    async with asyncio.timeout(SOON):
        while keeper.has(environment.key):
            await asyncio.sleep(0.01)
    assert await keeper.take(environment.key) is None


async def test_whoever_comes_while_a_runtime_restarts_waits(walled: Bench, keeper: Environments) -> None:
    environment = await served(walled, a_key("restarts"))
    await environment.cell.clear()
    assert keeper.restart(environment)

    assert await keeper.take(environment.key) is environment

    assert environment.is_cold
    await environment.cell.resume({})
    await environment.api.start()
    await assigned(environment.cell)
    assert await asked(environment.api) == 1
    await environment.end()


async def test_one_that_cannot_restart_serves_nobody(walled: Bench, keeper: Environments) -> None:
    environment = await served(walled, a_key("breaks"))
    await environment.cell.clear()
    assert keeper.restart(environment)
    await environment.cell.kill()

    async with asyncio.timeout(SOON):
        while keeper.has(environment.key):
            await asyncio.sleep(0.01)

    assert processes_with(f"{walled.place}/sandbox") == []


# --- cells that boot ahead ----------------------------------------------------------------------------


async def ready(pool: Pool, spec: CellSpec) -> None:
    """Wait until one is at hand."""
    async with asyncio.timeout(SOON):
        while not pool.has(spec.frame):
            await asyncio.sleep(0.005)


async def none_left(bench: Bench) -> None:
    """Wait until nothing of any cell is there."""
    async with asyncio.timeout(SOON):
        while processes_with(f"{bench.place}/sandbox"):
            await asyncio.sleep(0.01)


async def test_a_cell_boots_once_there_was_a_run_and_ends_when_none_came_for_long(walled: Bench) -> None:
    pool, spec = Pool(walled.sandbox, idle_s=1.0, refill_after_s=0.01), walled.spec(HANDLER)
    assert not pool.has(spec.frame)

    first = await pool.launch(spec, ENVIRONMENT)
    await first.kill()
    await ready(pool, spec)
    async with asyncio.timeout(SOON):
        while pool.has(spec.frame):
            await asyncio.sleep(0.01)

    await none_left(walled)
    await pool.close()


async def test_cells_end_when_their_memory_is_wanted_and_boot_again_when_it_is_not(walled: Bench) -> None:
    pool, spec = Pool(walled.sandbox, refill_after_s=0.01), walled.spec(HANDLER)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await ready(pool, spec)

    pool.allow(CELL_MB - 1)
    assert not pool.has(spec.frame)
    await none_left(walled)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await asyncio.sleep(0.5)
    assert not pool.has(spec.frame)

    pool.allow(math.inf)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await ready(pool, spec)
    await pool.close()
    await none_left(walled)


async def test_the_kind_of_cell_that_was_used_last_stays_longest(walled: Bench) -> None:
    pool = Pool(walled.sandbox, refill_after_s=0.01)
    old, new = walled.spec(HANDLER), replace(walled.spec(HANDLER), disk_mb=16)
    for spec in (old, new):
        await (await pool.launch(spec, ENVIRONMENT)).kill()
        await ready(pool, spec)

    pool.allow(CELL_MB)

    assert [pool.has(spec.frame) for spec in (old, new)] == [False, True]
    await pool.close()


async def test_a_run_that_needs_memory_leaves_none_to_cells(walled: Bench) -> None:
    pool, spec = Pool(walled.sandbox, refill_after_s=0.01), walled.spec(HANDLER)
    keeper = Environments(200, pool)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await ready(pool, spec)

    async with keeper.room(a_key("small", memory_mb=150)):
        assert pool.has(spec.frame)
    async with keeper.room(a_key("large", memory_mb=190)):
        assert not pool.has(spec.frame)
        await none_left(walled)

    await pool.close()
    await keeper.close()


async def test_a_run_with_a_start_of_its_own_takes_no_cell(walled: Bench) -> None:
    pool, spec = Pool(walled.sandbox, refill_after_s=0.01), walled.spec(HANDLER)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await ready(pool, spec)

    cell = await pool.launch(spec, None)

    assert pool.has(spec.frame)
    await cell.kill()
    await pool.close()


async def test_a_cell_that_ends_while_it_waits_is_nobody_s(walled: Bench) -> None:
    pool, spec = Pool(walled.sandbox, refill_after_s=0.01), walled.spec(HANDLER)
    await (await pool.launch(spec, ENVIRONMENT)).kill()
    await ready(pool, spec)

    kill_all(kin.naming(f"{walled.place}/sandbox"))
    async with asyncio.timeout(SOON):
        while pool.has(spec.frame):
            await asyncio.sleep(0.005)
    cell = await pool.launch(spec, ENVIRONMENT)

    await assigned(cell)
    api = RuntimeApi(cell.runtime_api)
    await api.start()
    assert await asked(api) == 1
    await api.close()
    await cell.kill()
    await pool.close()
