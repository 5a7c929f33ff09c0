# SPDX-License-Identifier: Apache-2.0
"""A server for the tests of one module, and one for a test of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.server import Server


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A directory that the sandbox's users can traverse, as pytest's own temporary ones cannot."""
    place = Path(tempfile.mkdtemp(prefix="longshore-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    """One server for all tests of a module."""
    one = Server(home / "data").start()
    yield one
    one.stop()
    one.api.close()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that a test may kill."""
    place = Path(tempfile.mkdtemp(prefix="longshore-test-"))
    place.chmod(0o755)
    one = Server(place / "data").start()
    yield one
    one.kill()
    one.api.close()
    shutil.rmtree(place, ignore_errors=True)
