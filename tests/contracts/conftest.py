# SPDX-License-Identifier: Apache-2.0
"""Every store, for the tests of what all of them promise."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contracts.storing import STORES, with_projects

from longshore.ports.store import Store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store with two projects in it."""
    one = STORES[request.param](tmp_path)
    await one.write(with_projects)
    yield one
    await one.close()
