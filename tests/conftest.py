# SPDX-License-Identifier: Apache-2.0
"""What every test may use."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Our servers run on asyncio alone."""
    return "asyncio"
