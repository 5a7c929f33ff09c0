# SPDX-License-Identifier: Apache-2.0
"""Time stamps: how they are written, and whether they mean a sample's start or its end.

JMeter writes the start of a sample when `sampleresult.timestamp.start=true` (as shipped) and the end when the
property is absent. The file does not say which, but a thread does one thing after another:

    meant as start     |──A──|   |──B──|          B.at >= A.at + A.elapsed
    meant as end       |──A──|   |──B──|          B.at - B.elapsed >= A.at

Whichever of the two is never (or far less often) violated is what the file means.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from itertools import chain, islice

from .findings import Findings
from .sample import Kind, Sample

LOOK_AT = 20_000
"""So many samples at the head of a file decide."""

_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})[ T]"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_MONTH_FIRST = re.compile(
    r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{2})[ ]"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2})(?P<fraction>)(?P<zone>)",
    re.ASCII,
)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stamps(StrEnum):
    """What `timeStamp` means. AUTO finds out from the samples of each thread."""

    AUTO = "auto"
    START = "start"
    END = "end"


def written(text: str, zone: tzinfo) -> int | None:
    """A formatted time stamp as ms since 1970, or None. Without a zone of its own it is a time in `zone`."""
    found = _YEAR_FIRST.fullmatch(text.strip()) or _MONTH_FIRST.fullmatch(text.strip())
    if not found:
        return None
    year = int(found["year"])
    fraction = (found["fraction"] or "").ljust(6, "0")[:6]
    try:
        moment = datetime(
            year if year > 99 else 2000 + year,
            int(found["month"]),
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"] or 0),
            int(fraction),
            tzinfo=_offset(found["zone"]) if found["zone"] else zone,
        )
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes))


@dataclass(slots=True)
class Votes:
    """How often either meaning was violated."""

    start: int = 0
    end: int = 0

    @property
    def meaning(self) -> Stamps:
        """END needs clear evidence, because START is what JMeter ships with."""
        return Stamps.END if self.start >= 2 and self.end * 4 <= self.start else Stamps.START


def votes(samples: Iterable[Sample]) -> Votes:
    """What the consecutive samples of each thread say.

    Controllers span their children and sub-samples (`Login-0` of `Login`) lie within their parent: neither
    comes after the other, so they have no vote. Rows that sum up several requests have none either.
    """
    said = Votes()
    last: dict[str, Sample] = {}
    for sample in samples:
        if sample.kind is not Kind.REQUEST or not sample.thread or sample.times != 1:
            continue
        before = last.get(sample.thread)
        if before and is_sub_sample(sample.label, before.label):
            continue
        if before:
            said.start += sample.at_ms < before.at_ms + before.elapsed_ms
            said.end += sample.at_ms - sample.elapsed_ms < before.at_ms
        last[sample.thread] = sample
    return said


def is_sub_sample(label: str, parent: str) -> bool:
    """Whether a label is what JMeter calls the redirects and embedded resources of `parent`."""
    return label.startswith(parent) and label[len(parent) : len(parent) + 1] == "-" and _number(label, parent)


def _number(label: str, parent: str) -> bool:
    return all(part.isdecimal() for part in label[len(parent) + 1 :].split("-"))


def started(samples: Iterator[Sample], meaning: Stamps, findings: Findings, *, file: str) -> Iterator[Sample]:
    """The samples of one file with `at_ms` being their start."""
    head: Sequence[Sample] = ()
    if meaning is Stamps.AUTO:
        head = list(islice(samples, LOOK_AT))
        meaning = votes(head).meaning
        if meaning is Stamps.END:
            findings.add(
                "end-stamps", "its time stamps mean the end of each sample, not the start", file=file
            )
    whole = chain(head, samples)
    if meaning is not Stamps.END:
        yield from whole
        return
    for sample in whole:
        yield sample._replace(at_ms=sample.at_ms - sample.elapsed_ms // sample.times)
