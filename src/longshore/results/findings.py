# SPDX-License-Identifier: Apache-2.0
"""What was odd about the data: findings travel with the numbers, so that none is wrong without a word.

Each kind of finding is kept in full a few times and counted from then on: a file of ten million bad rows
must not become ten million sentences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_OF_A_KIND = 10
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark. `code` is for programs; `line` counts from 1, and is 0 where the whole file is meant."""

    code: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message


@dataclass(slots=True)
class Findings:
    """The findings of one reading, in order."""

    kept: list[Finding] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, code: str, message: str, *, file: str = "", line: int = 0) -> None:
        """Keep a finding, or only count it when its kind has been seen often enough in this file."""
        key = code, file
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= MAX_OF_A_KIND:
            self.kept.append(Finding(code=code, message=message, file=file, line=line))

    def __iter__(self) -> Iterator[Finding]:
        """All that were kept, then a sentence for each kind of which there were more."""
        yield from self.kept
        for (code, file), count in self.counts.items():
            if count > MAX_OF_A_KIND:
                more = count - MAX_OF_A_KIND
                yield Finding(code=code, message=f"{more} more findings of the kind {code}", file=file)


def shown(text: str) -> str:
    """Foreign text as it may stand in a sentence: quoted, escaped, short."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
