# SPDX-License-Identifier: Apache-2.0
"""What every test may use."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own, and the means to fill it."""

    at: Path

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.at / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(65536))
        with (self.at / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x")

    def clear(self) -> None:
        """Make room again."""
        (self.at / "filler").unlink()


@pytest.fixture
def small_disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A disk of so many MB as the test's parameter says. Making one takes root; where nobody is root the
    store's own tests fill a database by its number of pages."""
    at = Path(tempfile.mkdtemp(prefix="longshore-disk-"))
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={request.param}m,mode=755", "longshore-test", str(at)]
    mounted = subprocess.run(mounting, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        at.rmdir()
        pytest.skip(f"a disk that can be filled cannot be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(at)
    subprocess.run(["umount", "--lazy", str(at)], check=True)
    at.rmdir()


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """One server for all tests of a module."""
    one = Server(place / "data").start()
    yield one
    one.stop()
    one.api.close()
