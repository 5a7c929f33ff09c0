# SPDX-License-Identifier: Apache-2.0
"""A sample: one row of a result file, whatever format it came from."""

from enum import Enum
from typing import NamedTuple

LATEST_MS = 32_503_680_000_000
"""The year 3000: a time stamp beyond it is none."""

LONGEST_MS = 10 * 366 * 86_400_000
"""Ten years: no sample took longer."""

_CONTROLLER = "Number of samples in transaction"
_EMPTY_CONTROLLER = "Number of samples in transaction : 0"


class Kind(Enum):
    """What a row stands for. JMeter leaves empty controllers out everywhere, and controllers out of Total."""

    REQUEST = "request"
    CONTROLLER = "controller"
    EMPTY_CONTROLLER = "empty controller"


class Sample(NamedTuple):
    """`at_ms` is the time stamp (ms since 1970): as written at first, the start once `stamps` has decided.

    `times` is above 1 in JMeter's statistical mode, where a row stands for so many requests: then
    `elapsed_ms` and the bytes are sums, and `errors` says how many of them failed. `users` is the
    number of active threads of its load generator (allThreads).
    """

    at_ms: int
    elapsed_ms: int
    label: str
    success: bool
    kind: Kind
    code: str
    thread: str
    received: int
    sent: int
    users: int
    times: int
    errors: int


def kind_of(message: str) -> Kind:
    """By the response message, which is the only place where JMeter says it."""
    if _CONTROLLER not in message:
        return Kind.REQUEST
    return Kind.EMPTY_CONTROLLER if message.startswith(_EMPTY_CONTROLLER) else Kind.CONTROLLER
