# SPDX-License-Identifier: Apache-2.0
"""The same handler as functions-framework wants it."""

from typing import Any


def handler(request: Any) -> Any:
    """The request's JSON."""
    return request.get_json()
