# SPDX-License-Identifier: Apache-2.0
"""The way to the server. The HTTP library is loaded when a verb needs it, not for `--help`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longshore.cli.client import Api


@contextlib.contextmanager
def connected() -> Iterator["Api"]:
    """The API as the environment names it: LONGSHORE_URL, LONGSHORE_TOKEN, LONGSHORE_PROJECT."""
    from longshore.cli.client import connect

    with connect() as api:
        yield api
