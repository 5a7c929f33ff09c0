# SPDX-License-Identifier: Apache-2.0
"""A prepared runtime for the session, and sandboxes of each kind that this machine can have."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.sandbox.cells import Bench

from longshore.adapters.sandbox.bubblewrap import Bubblewrap, programs
from longshore.adapters.sandbox.cgroups import Bare
from longshore.adapters.sandbox.home import open_home
from longshore.adapters.sandbox.process import Process
from longshore.domain.errors import Unavailable
from longshore.interceptor.pythons import own
from longshore.interceptor.runtimes import PreparedRuntime, prepare
from longshore.ports.sandbox import Sandbox


@pytest.fixture(scope="session")
def public() -> Iterator[Path]:
    """A directory that every user may reach; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="longshore-tests-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def runtime(public: Path) -> PreparedRuntime:
    """The interpreter that runs the tests, with its client, ready to be mounted."""
    return asyncio.run(own_runtime(public / "runtimes"))


async def own_runtime(home: Path) -> PreparedRuntime:
    """The interpreter that runs us, prepared."""
    return await (await prepare(home)).prepared(own().id)


@pytest.fixture
def place(public: Path) -> Iterator[Path]:
    """A fresh directory of the same kind."""
    directory = Path(tempfile.mkdtemp(dir=public))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


async def opened(kind: str, directory: Path) -> Sandbox:
    """A sandbox: `strict`, `limits` (walls, but no control groups), `process`."""
    home = open_home(directory)
    if kind == "limits":
        home.groups.close()
        home.groups = Bare()
    if kind == "process":
        return Process(home, shutil.which("setpriv") or "")
    try:
        sandbox = Bubblewrap(home, *programs())
    except Unavailable:
        home.close()
        raise
    try:
        await sandbox.check()
    except Unavailable:
        await sandbox.close()
        raise
    if kind == "strict" and sandbox.isolation.level != "strict":
        await sandbox.close()
        raise Unavailable("; ".join(sandbox.isolation.words))
    return sandbox


async def bench_of(kind: str, runtime: PreparedRuntime, place: Path) -> AsyncIterator[Bench]:
    """A bench; where its kind cannot be had the test is skipped at home and fails in CI. Control groups are
    the exception: many CI machines have none to give, and `limits` is tested there instead."""
    try:
        sandbox = await opened(kind, place / "sandbox")
    except Unavailable as error:
        if os.environ.get("CI") == "true" and kind != "strict":
            pytest.fail(error.message)
        pytest.skip(f"{kind}: {error.message}")
    try:
        yield Bench(sandbox, runtime, place)
    finally:
        await sandbox.close()
        assert list((place / "sandbox").iterdir()) == []


@pytest.fixture(params=["strict", "limits"])
async def walled(
    request: pytest.FixtureRequest, runtime: PreparedRuntime, place: Path
) -> AsyncIterator[Bench]:
    """Cells with walls."""
    async for bench in bench_of(request.param, runtime, place):
        yield bench


@pytest.fixture(params=["strict", "limits", "process"])
async def bench(
    request: pytest.FixtureRequest, runtime: PreparedRuntime, place: Path
) -> AsyncIterator[Bench]:
    """Cells of every kind."""
    async for bench in bench_of(request.param, runtime, place):
        yield bench
