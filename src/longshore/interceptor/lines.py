# SPDX-License-Identifier: Apache-2.0
"""From what a handler printed to lines of text that are safe to show: split, decoded, cleaned, cut, judged.

A line ends with \\n, with \\r\\n, or with a lone \\r (a progress bar's, or the one by which the official
Python client keeps the lines of one record together). Of terminals' escape sequences only colours stay.
"""

import re
from typing import NamedTuple

from longshore.domain.logs import Level

LINE_BYTES = 64 * 1024
CUT = " …[cut: line longer than 64 KiB]"

_CONTROL = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # colours, which stay
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # every other command of terminals
    r"|\x1b[\]PX^_][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?"  # titles, links, device strings
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_LINE_END = re.compile(r"\r+\n")
_ANY_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LEVEL = re.compile(
    r"(?:\x1b\[[0-9;:]*m)*"
    r"(?:\[?\d{4}-\d\d-\d\d[T ][\d:.,]{5,20}(?:Z|[+-]\d\d:?\d\d)?\]?[ \t|-]+)?"  # a time before it
    r"(?:[\w.-]{1,100}(?: - |\t))?"  # and a logger's name, or a request's id
    r"(?:\x1b\[[0-9;:]*m)*[\[<(]?"
    r"(?:(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)(?=[\s:\])>|-]|\x1b|$)"
    r"|((?i:debug|info|warning|error|critical|fatal))(?=[\]:]))"
)
_JSON_LEVEL = re.compile(r'"(?:level|levelname|severity)"\s*:\s*"(\w{4,8})"')
_LEVELS = {
    "TRACE": Level.DEBUG,
    "DEBUG": Level.DEBUG,
    "INFO": Level.INFO,
    "NOTICE": Level.INFO,
    "WARN": Level.WARNING,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "CRITICAL": Level.CRITICAL,
    "FATAL": Level.CRITICAL,
}
_LEVEL_WORDS = ("trace", "debug", "info", "notice", "warn", "error", "critical", "fatal")
_CONTROL_BYTES = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r") + b"\x7f"
_TRACEBACK = "Traceback (most recent call last):"
_INDENT = (" ", "\t", "\xa0")


class Line(NamedTuple):
    """A line's text and how serious it claims to be."""

    text: str
    level: Level | None


class LineSplitter:
    """One stream of output, chunk by chunk. An unfinished line is kept back until it is finished or cut."""

    __slots__ = ("_in_traceback", "_partial", "_skipping")

    def __init__(self) -> None:
        self._partial = b""
        self._skipping = False
        self._in_traceback = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are finished now."""
        data = self._partial + data if self._partial else data
        if self._skipping:
            data = self._skip(data)
        body = data.rstrip(b"\r")  # whether a \r ends a line, or \r\n does, is not known yet
        end = 1 + max(body.rfind(b"\n"), body.rfind(b"\r"))
        self._partial = body[end:] + (b"\r" if len(body) < len(data) else b"")
        lines = self._lines(body[:end]) if end else []
        if len(body) - end > LINE_BYTES:
            lines += self._cut_off()
        return lines

    def _cut_off(self) -> list[Line]:
        """The beginning of a line that is too long; the rest of it will be skipped."""
        *before, (text, level) = self._lines(self._partial.rstrip(b"\r")) or [Line("", None)]
        self._partial = b"\r" if self._partial.endswith(b"\r") else b""
        self._skipping = True
        return [*before, Line(text if text.endswith(CUT) else text + CUT, level)]

    def finish(self) -> list[Line]:
        """The last line, where it has no end: nothing follows."""
        last, self._partial = self._partial, b""
        skipping, self._skipping = self._skipping, False
        return [] if skipping or not last else self._lines(last)

    def _skip(self, data: bytes) -> bytes:
        """What follows the rest of a line that was cut."""
        ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
        if not ends:
            return b""
        at = min(ends)
        if at == len(data) - 1 and data.endswith(b"\r"):
            return b"\r"  # perhaps the first half of \r\n
        self._skipping = False
        return data[at + (2 if data[at : at + 2] == b"\r\n" else 1) :]

    def _lines(self, block: bytes) -> list[Line]:
        text = block.decode("utf-8", "replace")
        if "\r" in text:
            text = _LINE_END.sub("\n", text)
        if "\r" in text:
            return [line for record in _split(text) for line in self._record(record)]
        lines = _split(text if _is_plain(block) else clean(text))
        if self._in_traceback or _names_levels(text):
            return [self._line(line) for line in lines]
        return [Line(cut(line) if len(line) > LINE_BYTES // 4 else line, None) for line in lines]

    def _record(self, text: str) -> list[Line]:
        """Lines held together by \\r: the first one's level is that of all; empty ones are no lines."""
        if "\r" not in text:
            return [self._line(clean(text))]
        parts = [clean(part) for part in text.split("\r") if part]
        if not parts:
            return []
        first, *others = parts
        level = self._line(first).level
        self._in_traceback = False
        return [Line(cut(first), level), *(Line(cut(_spaced(other)), level) for other in others)]

    def _line(self, text: str) -> Line:
        level = level_of(text)
        if text.startswith(_TRACEBACK):
            self._in_traceback = True
        elif self._in_traceback and level is None:
            self._in_traceback = not text or text.startswith(_INDENT)
            level = Level.ERROR
        elif self._in_traceback:
            self._in_traceback = False
        return Line(cut(text) if len(text) > LINE_BYTES // 4 else text, level)


def _is_plain(block: bytes) -> bool:
    """Whether there is nothing to clean, by one pass over the bytes; some that say no may be clean."""
    return block.isascii() and len(block.translate(None, _CONTROL_BYTES)) == len(block)


def _names_levels(text: str) -> bool:
    """Whether any line may name a level: most output names none, and a line by itself takes longer."""
    folded = text.lower()
    return any(word in folded for word in _LEVEL_WORDS)


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def clean(text: str) -> str:
    """Without control characters, but for tab, line ends and colours."""
    return _CONTROL.sub(r"\1", text) if _ANY_CONTROL.search(text) else text


def cut(text: str) -> str:
    """A line that fits, marked when it did not."""
    if len(text) <= LINE_BYTES // 4:
        return text
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= LINE_BYTES else raw[:LINE_BYTES].decode("utf-8", "ignore") + CUT


def level_of(text: str) -> Level | None:
    """The level that a line names at its beginning; an error where a traceback begins."""
    found = _LEVEL.match(text)
    if found:
        return _LEVELS[(found[1] or found[2]).upper()]
    if text.startswith("{"):
        named = _JSON_LEVEL.search(text, 0, 1000)
        return _LEVELS.get(named[1].upper()) if named else None
    return Level.ERROR if text.startswith(_TRACEBACK) else None


def _spaced(text: str) -> str:
    """With the no-break spaces that the official client indents with as the spaces they were."""
    bare = text.lstrip("\xa0")
    return " " * (len(text) - len(bare)) + bare
