# SPDX-License-Identifier: Apache-2.0
"""Samples from JMeter's XML, element by element; memory does not grow with the file.

A sample counts when its element is closed, so that a file of a killed JMeter gives every complete one.
Document types and entities have no place in a result file and are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO
from xml.parsers import expat

from .csv_reader import whole
from .errors import BadResults
from .findings import Findings, shown
from .sample import LATEST_MS, LONGEST_MS, Sample, kind_of
from .sources import BROKEN

MAX_DEPTH = 100
_CHUNK = 64 * 1024
_SAMPLES = frozenset({"sample", "httpSample"})
_TRUTH = {"true": True, "false": False}
_BOM = b"\xef\xbb\xbf"


class Children(StrEnum):
    """Nested samples: ALL is what JMeter's CSV has, a row for each; TOP is only what a user's plan named."""

    ALL = "all"
    TOP = "top"


@dataclass(slots=True)
class XmlReader:
    """Reads one file."""

    file: str
    children: Children
    findings: Findings
    path: list[bool] = field(default_factory=list)
    """For every open element, whether it is a sample."""
    open: list[Sample] = field(default_factory=list)
    """The samples of the outermost element that is still open, in the order of their beginning."""
    done: list[Sample] = field(default_factory=list)
    line: int = 1
    parser: expat.XMLParserType = field(init=False)

    def __post_init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def read(self, raw: BinaryIO) -> Iterator[Sample]:
        """Every complete sample; the rest is findings. Raises BadResults when it is no such file."""
        try:
            for chunk in _chunks(raw):
                self.parser.Parse(chunk, False)
                yield from self._taken()
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            yield from self._taken()
            self._broken_off(expat.ErrorString(error.code), error.lineno)
        except BROKEN as error:
            yield from self._taken()
            self._broken_off(str(error), self.parser.CurrentLineNumber)
        yield from self._taken()

    def _taken(self) -> list[Sample]:
        taken, self.done = self.done, []
        return taken

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if not self.path and name != "testResults":
            raise BadResults(
                f"{self.file} is XML, but not of JMeter: it begins with <{name[:60]}>, not with <testResults>"
            )
        if len(self.path) >= MAX_DEPTH:
            raise BadResults(f"{self.file}, line {self._line()} is nested deeper than {MAX_DEPTH} elements")
        self.path.append(name in _SAMPLES)
        if name in _SAMPLES and (self.children is Children.ALL or sum(self.path) == 1):
            self._keep(attributes)

    def _keep(self, attributes: Mapping[str, str]) -> None:
        try:
            self.open.append(self._sample(attributes))
        except ValueError as odd:
            self._say("bad-value", f"{odd}; the sample is left out")

    def _end(self, _name: str) -> None:
        if self.path.pop() and not any(self.path):
            self.done += self.open
            self.open.clear()

    def _sample(self, attributes: Mapping[str, str]) -> Sample:
        success = _TRUTH.get(attributes.get("s", "").strip().lower())
        if success is None:
            raise ValueError(f"s is {shown(attributes.get('s', ''))}; true or false belongs there")
        at, elapsed = _number(attributes, "ts"), _number(attributes, "t")
        if not 0 <= at <= LATEST_MS:
            raise ValueError(f"ts is {at}; milliseconds since 1970 belong there")
        if abs(elapsed) > LONGEST_MS:
            raise ValueError(f"t is {elapsed}; milliseconds of response time belong there")
        if elapsed < 0:
            self._say("negative-time", f"t is {elapsed}: the generator's clock was set back")
        times = max(self._optional(attributes, "sc"), 1)
        return Sample(
            at_ms=at,
            elapsed_ms=elapsed,
            label=attributes.get("lb", ""),
            success=success,
            kind=kind_of(attributes.get("rm", "")),
            code=attributes.get("rc", ""),
            thread=attributes.get("tn", ""),
            received=self._optional(attributes, "by"),
            sent=self._optional(attributes, "sby"),
            users=self._optional(attributes, "na"),
            times=times,
            errors=min(self._optional(attributes, "ec"), times),
        )

    def _optional(self, attributes: Mapping[str, str], name: str) -> int:
        text = attributes.get(name, "")
        number = whole(text) if text.strip() else 0
        if number is None or number < 0:
            self._say("bad-value", f"{name} is {shown(text)} and not a number; it counts as 0")
            return 0
        return number

    def _refuse(self, *_declaration: object) -> None:
        raise BadResults(
            f"{self.file}, line {self._line()} declares a document type or an entity; JMeter writes none,"
            " and such files are refused"
        )

    def _broken_off(self, reason: str, line: int) -> None:
        message = f"it breaks off here ({reason}); the complete samples before this place count"
        self.findings.add("truncated", message, file=self.file, line=line)

    def _say(self, code: str, message: str) -> None:
        self.findings.add(code, message, file=self.file, line=self._line())

    def _line(self) -> int:
        return self.parser.CurrentLineNumber


def _chunks(raw: BinaryIO) -> Iterator[bytes]:
    """The file without white space at its beginning, which XML does not allow there."""
    begun = False
    while chunk := raw.read(_CHUNK):
        if not begun:
            chunk = chunk.removeprefix(_BOM).lstrip()
            begun = bool(chunk)
        yield chunk


def _number(attributes: Mapping[str, str], name: str) -> int:
    number = whole(attributes.get(name, ""))
    if number is None:
        raise ValueError(f"{name} is {shown(attributes.get(name, ''))}; a whole number belongs there")
    return number
