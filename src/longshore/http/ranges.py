# SPDX-License-Identifier: Apache-2.0
"""Range requests (RFC 9110, 14): one stretch of bytes. Several at once, or foreign words, get it all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Unsatisfiable(Exception):
    """A stretch that begins behind the end."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an object's bytes."""

    start: int
    length: int

    def header(self, size: int) -> str:
        """As Content-Range says it."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def span_of(headers: Mapping[str, str], size: int, *, etag: str) -> Span | None:
    """The stretch that is asked for; None for the whole. Raises Unsatisfiable."""
    found = _ONE.fullmatch(headers.get("range", "").replace(" ", ""))
    if found is None or found[0] == "bytes=-" or headers.get("if-range", etag) != etag:
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        start = size - length
    else:
        start = int(found[1])
        last = min(int(found[2]) if found[2] else size - 1, size - 1)
        if found[2] and int(found[2]) < start:
            return None
        length = last - start + 1
    if length <= 0:
        raise Unsatisfiable(f"the object has {size} bytes; the range begins behind them")
    return Span(start, length)
