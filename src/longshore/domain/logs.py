# SPDX-License-Identifier: Apache-2.0
"""A line of a run's log."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from longshore.domain.ids import RunId


class Stream(StrEnum):
    """Where a line came from. PLATFORM lines are ours: START, END, REPORT and warnings."""

    STDOUT = "stdout"
    STDERR = "stderr"
    PLATFORM = "platform"


class Level(StrEnum):
    """How serious a line claims to be."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LogLine(NamedTuple):
    """One line, masked before it left the machine. `seq` counts from 1 within a run, over all attempts.

    A tuple: a chatty run makes a hundred thousand of them, and any other value takes four times as long.
    """

    run: RunId
    attempt: int
    seq: int
    at: datetime
    stream: Stream
    level: Level | None
    text: str
