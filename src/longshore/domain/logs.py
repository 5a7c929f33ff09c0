# SPDX-License-Identifier: Apache-2.0
"""A line of a run's log."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line, masked before it left the machine. `seq` counts from 1 within a run, over all attempts."""

    run: RunId
    attempt: int
    seq: int
    at: datetime
    stream: Stream
    level: Level | None
    text: str
