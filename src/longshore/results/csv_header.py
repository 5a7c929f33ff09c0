# SPDX-License-Identifier: Apache-2.0
"""Which column of a CSV is which: by the header's names, or by the order JMeter has without a header."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from .errors import BadResults
from .findings import shown
from .stamps import written

DELIMITERS = (",", ";", "\t", "|")
NEEDED = ("timeStamp", "elapsed", "label", "success")
OPTIONAL = (
    *("responseCode", "responseMessage", "threadName", "bytes", "sentBytes", "allThreads"),
    *("SampleCount", "ErrorCount"),
)
_OTHERS = (
    *("dataType", "failureMessage", "grpThreads", "URL", "Filename", "Latency", "Connect", "IdleTime"),
    *("Encoding", "Hostname"),
)
_KNOWN = {name.lower(): name for name in (*NEEDED, *OPTIONAL, *_OTHERS)}

_FIRST_EIGHT = (
    *("timeStamp", "elapsed", "label", "responseCode", "responseMessage", "threadName", "dataType"),
    "success",
)
_REST = {
    1: ("bytes",),
    2: ("bytes", "Latency"),
    3: ("bytes", "Latency", "Connect"),
    4: ("bytes", "grpThreads", "allThreads", "Latency"),
    5: ("bytes", "grpThreads", "allThreads", "Latency", "IdleTime"),
    7: ("bytes", "sentBytes", "grpThreads", "allThreads", "Latency", "IdleTime", "Connect"),
    8: ("bytes", "sentBytes", "grpThreads", "allThreads", "URL", "Latency", "IdleTime", "Connect"),
    13: (
        *("bytes", "sentBytes", "grpThreads", "allThreads", "URL", "Filename", "Latency", "Connect"),
        *("Encoding", "SampleCount", "ErrorCount", "Hostname", "IdleTime"),
    ),
}
"""What follows `success` (and a failure message) in the versions of JMeter, by the number of columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The places of the columns we read. `width` is the number of fields of a row; a column that is not there
    has the place `width`, where the reader puts an empty text."""

    width: int
    places: dict[str, int]
    has_header: bool

    def place(self, name: str) -> int:
        """Where a column stands."""
        return self.places.get(name, self.width)


def columns_of(first_line: str, *, file: str) -> tuple[str, Columns]:
    """The delimiter and the columns, from the first line of a file. Raises BadResults."""
    split = {delimiter: _fields(first_line, delimiter) for delimiter in DELIMITERS}
    delimiter, fields = max(split.items(), key=lambda one: len(named(one[1])))
    if len(named(fields)) >= 2:
        return delimiter, _by_name(fields, file)
    for delimiter, fields in split.items():
        if columns := _by_order(fields):
            return delimiter, columns
    raise BadResults(
        f"{file} is not a JMeter result file: it begins with {shown(first_line.strip())}. A CSV begins with a"
        " header (timeStamp,elapsed,label,...) or with a sample, an XML file with <testResults>"
    )


def named(fields: Sequence[str]) -> dict[str, int]:
    """The columns that a row names, if it is a header; JMeter's names, in any case of letters."""
    places: dict[str, int] = {}
    for place, field in enumerate(fields):
        if name := _KNOWN.get(field.strip().lower()):
            places.setdefault(name, place)
    return places


def is_header(fields: Sequence[str]) -> bool:
    """Whether a row is a header and not a sample."""
    return {"timeStamp", "elapsed", "label"} <= named(fields).keys()


def header(fields: Sequence[str], *, file: str) -> Columns:
    """The columns of a row that is a header."""
    return _by_name(fields, file)


def _fields(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [])


def _by_name(fields: Sequence[str], file: str) -> Columns:
    places = named(fields)
    if missing := [name for name in NEEDED if name not in places]:
        there = ", ".join(field.strip() for field in fields[:40])
        raise BadResults(
            f"{file} has no column {' and no column '.join(missing)}. Needed are {', '.join(NEEDED)};"
            f" it has {there}. See jmeter.save.saveservice in JMeter's properties"
        )
    return Columns(width=len(fields), places=places, has_header=True)


def _by_order(fields: Sequence[str]) -> Columns | None:
    """The columns when the first line is a sample: eight that every version writes, then by what is left."""
    if not _is_sample(fields):
        return None
    rest = len(fields) - 8
    has_message = rest > 0 and not re.fullmatch(r"\d+", fields[8].strip(), re.ASCII)
    names = [*_FIRST_EIGHT, *(["failureMessage"] if has_message else [])]
    names += _REST.get(rest - has_message, ("bytes",) if rest > has_message else ())
    places = {name: place for place, name in enumerate(names)}
    return Columns(width=len(fields), places=places, has_header=False)


def _is_sample(fields: Sequence[str]) -> bool:
    if len(fields) < 8 or not re.fullmatch(r"\d+", fields[1].strip(), re.ASCII):
        return False
    at = fields[0].strip()
    is_time = re.fullmatch(r"\d{9,16}", at, re.ASCII) or written(at, UTC) is not None
    return bool(is_time) and fields[7].strip().lower() in ("true", "false")
