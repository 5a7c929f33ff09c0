# SPDX-License-Identifier: Apache-2.0
"""The handler that peers run: the same as ours."""


def handler(event: object, context: object) -> object:
    """Its own event."""
    return event
