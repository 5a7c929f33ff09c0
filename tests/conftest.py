# SPDX-License-Identifier: Apache-2.0
"""What every test may use."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.server import Server


@pytest.fixture
def anyio_backend() -> str:
    """Our servers run on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def shared_runtimes() -> Iterator[None]:
    """Servers that tests start share their prepared runtimes: each would copy an interpreter otherwise."""
    place = Path(tempfile.mkdtemp(prefix="longshore-runtimes-"))
    place.chmod(0o755)
    before = os.environ.setdefault("LONGSHORE_RUNTIMES", str(place))
    yield
    if before == str(place):
        del os.environ["LONGSHORE_RUNTIMES"]
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the sandbox's users can traverse, as pytest's own temporary ones cannot."""
    place = Path(tempfile.mkdtemp(prefix="longshore-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """One server for all tests of a module."""
    one = Server(place / "data").start()
    yield one
    one.stop()
    one.api.close()
