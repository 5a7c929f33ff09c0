# SPDX-License-Identifier: Apache-2.0
"""Samples from JMeter's CSV, a row at a time.

The common row takes a short way. Whatever is unusual about a row (a blank one, a second header, a field too
few, a time stamp in words, a number that is none) takes the long way, which knows how to say it.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import BinaryIO

from .csv_header import NEEDED, OPTIONAL, Columns, columns_of, header, is_header
from .errors import BadResults
from .findings import Findings, shown
from .sample import LATEST_MS, LONGEST_MS, Kind, Sample, kind_of
from .sources import BROKEN
from .stamps import written

MAX_FIELD_CHARS = 64 * 1024 * 1024
MAX_LINE_CHARS = 2 * MAX_FIELD_CHARS

Picker = Callable[[list[str]], tuple[str, ...]]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TRUTH = {"true": True, "false": False}
_ONCE = ("", "1")
_COMMON = ("OK", "")
_MOST = 10**18
"""More bytes or users than anything has; larger numbers would not fit into a float."""
_NUMBERS = ("bytes", "sentBytes", "allThreads", "SampleCount", "ErrorCount")


class _Odd(ValueError):
    """A row that cannot be a sample; the sentence says which field and why."""


@dataclass(slots=True)
class CsvReader:
    """Reads one file; `zone` is what formatted time stamps without a zone are taken for."""

    file: str
    zone: tzinfo
    findings: Findings
    formatted: bool = False
    epoch: bool = False
    short: "tuple[int, int] | None" = None
    """Line and number of fields of a row that had too few, until it is known whether it is the last one."""

    def read(self, raw: BinaryIO) -> Iterator[Sample]:
        """Every sample that can be read; the rest is findings. Raises BadResults when it is no such file."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
        try:
            with closing(_lines(raw, self.file)) as lines:
                yield from self._samples(lines)
        except BROKEN as error:
            self._say("truncated", f"it is cut off or damaged ({error}); the rest of it is not read")
        if self.formatted and self.epoch:
            self._say("mixed-stamps", "some of its time stamps are numbers and some are written out")

    def _samples(self, lines: Iterator[str]) -> Iterator[Sample]:
        text, above = _first(lines)
        if not text:
            raise BadResults(f"{self.file} has nothing but white space in it; JMeter wrote no sample")
        delimiter, columns = columns_of(text, file=self.file)
        rest = lines if columns.has_header else chain([text], lines)
        yield from self._rows(rest, delimiter, columns, above + columns.has_header)

    def _rows(self, lines: Iterable[str], delimiter: str, columns: Columns, above: int) -> Iterator[Sample]:
        """The samples of all rows; `above` lines came before the first.

        Quotes are taken strictly: a lenient reader would make one row of several, and lose them in silence.
        After a row with bad quotes it goes on with the next line.
        """
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        line, pick = above, _picker(columns)
        while True:
            try:
                for row in rows:
                    begin, line = line + 1, above + rows.line_num
                    sample = _usual(row, columns.width, pick)
                    if self.short:
                        self._short_in_the_middle(columns)
                    if sample:
                        self.epoch = True
                        yield sample
                    elif is_header(row):
                        columns = self._next_header(row, begin)
                        pick = _picker(columns)
                    elif found := self._unusual(row, columns, begin):
                        yield found
                break
            except csv.Error as error:
                begin, line = line + 1, above + rows.line_num
                self._bad_quotes(error, begin, line)
        if self.short:
            self._short_at_the_end(columns)

    def _unusual(self, row: list[str], columns: Columns, line: int) -> Sample | None:
        """The sample of a row that is not as most are, or a finding."""
        if not any(row):
            return None
        if len(row) < columns.width:
            self.short = line, len(row)
            return None
        if any(row[columns.width :]):
            self._say(
                "long-row",
                f"a row of {len(row)} fields where {columns.width} belong is left out; a field with a"
                " delimiter in it must be quoted",
                line,
            )
            return None
        try:
            return self._careful(row, columns, line)
        except _Odd as odd:
            self._say("bad-value", f"{odd}; the row is left out", line)
            return None

    def _careful(self, row: list[str], columns: Columns, line: int) -> Sample:
        """A sample from a row, with a word about each field that is not as it should be."""
        field = {name: row[place] for name, place in columns.places.items()}
        elapsed, success = whole(field["elapsed"]), _TRUTH.get(field["success"].strip().lower())
        if elapsed is None or abs(elapsed) > LONGEST_MS:
            raise _Odd(f"elapsed is {shown(field['elapsed'])}; a whole number of milliseconds belongs there")
        if success is None:
            raise _Odd(f"success is {shown(field['success'])}; true or false belongs there")
        if elapsed < 0:
            self._say("negative-time", f"elapsed is {elapsed}: the generator's clock was set back", line)
        at = self._moment(field["timeStamp"])
        numbers = {name: self._optional(field, name, line) for name in _NUMBERS}
        times = max(numbers["SampleCount"], 1)
        return Sample(
            at_ms=at,
            elapsed_ms=elapsed,
            label=field["label"],
            success=success,
            kind=kind_of(field.get("responseMessage", "")),
            code=field.get("responseCode", ""),
            thread=field.get("threadName", ""),
            received=numbers["bytes"],
            sent=numbers["sentBytes"],
            users=numbers["allThreads"],
            times=times,
            errors=min(numbers["ErrorCount"], times),
        )

    def _moment(self, text: str) -> int:
        number = whole(text)
        if number is not None and 0 <= number <= LATEST_MS:
            self.epoch = True
            return number
        moment = None if number is not None else written(text, self.zone)
        if moment is None:
            raise _Odd(
                f"timeStamp is {shown(text)}; milliseconds since 1970 belong there, or a time such as"
                " 2026/03/01 12:37:24"
            )
        if not self.formatted:
            self.formatted = True
            self._say("local-time", f"its time stamps are written out; they are taken for {self.zone} time")
        return moment

    def _optional(self, field: dict[str, str], name: str, line: int) -> int:
        number = whole(field[name]) if field.get(name, "").strip() else 0
        if number is None or number < 0:
            self._say("bad-value", f"{name} is {shown(field[name])} and not a number; it counts as 0", line)
            return 0
        return number

    def _next_header(self, row: list[str], line: int) -> Columns:
        self._say("second-header", "a second header: results were appended to results", line)
        return header(row, file=self.file)

    def _short_in_the_middle(self, columns: Columns) -> None:
        line, fields = self.short or (0, 0)
        self.short = None
        self._say("short-row", f"a row of {fields} fields where {columns.width} belong is left out", line)

    def _short_at_the_end(self, columns: Columns) -> None:
        line, fields = self.short or (0, 0)
        self._say(
            "truncated",
            f"the last row ends after {fields} of {columns.width} fields and is left out; JMeter was stopped"
            " while writing it",
            line,
        )

    def _bad_quotes(self, error: csv.Error, begin: int, end: int) -> None:
        lost = f"lines {begin} to {end} are" if end > begin else "it is"
        if "unexpected end" in str(error):
            self._say("truncated", f"a quote that begins here is never closed; {lost} left out", begin)
        else:
            self._say("bad-quotes", f"its quotes are not as CSV has them ({error}); {lost} left out", begin)

    def _say(self, code: str, message: str, line: int = 0) -> None:
        self.findings.add(code, message, file=self.file, line=line)


def _lines(raw: BinaryIO, file: str) -> Generator[str, None, None]:
    """The lines with their ends, which belong to the value when they are inside quotes."""
    head = raw.read(4)
    raw.seek(0)
    mark, encoding = next((one for one in _BOMS if head.startswith(one[0])), (b"", "utf-8"))
    if encoding == "utf-8":
        raw.seek(len(mark))
    with io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="") as text:
        for number, line in enumerate(iter(partial(text.readline, MAX_LINE_CHARS), ""), start=1):
            if len(line) == MAX_LINE_CHARS:
                raise BadResults(
                    f"{file}, line {number} is longer than {MAX_LINE_CHARS} characters; no JTL is"
                )
            yield line


def _first(lines: Iterator[str]) -> tuple[str, int]:
    """The first line that has anything in it, and how many came before."""
    for above, line in enumerate(lines):
        if line.strip():
            return line, above
    return "", 0


def _picker(columns: Columns) -> Picker:
    """Takes the fields of a sample, in its order, from a row with an empty text at its end."""
    at, elapsed, *others = (columns.place(name) for name in (*NEEDED, *OPTIONAL))
    return itemgetter(at, elapsed, *others)


def _usual(row: list[str], width: int, pick: Picker) -> Sample | None:
    """The sample of a row as nearly all are. Written for speed: this is where a large file's time goes."""
    if len(row) != width:
        return None
    try:
        at, took, label, success, code, message, thread, received, sent, users, times, _ = pick([*row, ""])
        begin, elapsed, got, gave = int(at), int(took), int(received or 0), int(sent or 0)
        active = int(users or 0)
        if not (0 <= begin <= LATEST_MS and 0 <= elapsed <= LONGEST_MS and times in _ONCE):
            return None
        if not (0 <= got <= _MOST and 0 <= gave <= _MOST and 0 <= active <= _MOST):
            return None
        kind = Kind.REQUEST if message in _COMMON else kind_of(message)
        return Sample(begin, elapsed, label, _TRUTH[success], kind, code, thread, got, gave, active, 1, 0)
    except (ValueError, KeyError):
        return None


def whole(text: str) -> int | None:
    """The whole number that a text is, or None."""
    return int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII) else None
