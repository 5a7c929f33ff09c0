# SPDX-License-Identifier: Apache-2.0
"""A server for a test of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.server import Server


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
