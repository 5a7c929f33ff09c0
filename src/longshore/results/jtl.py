# SPDX-License-Identifier: Apache-2.0
"""JMeter's result files (JTL): which format a file is in, and its samples one after another."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo

from .csv_reader import CsvReader
from .errors import BadResults
from .findings import Findings
from .sample import Sample
from .sources import BROKEN, Source
from .stamps import Stamps, started
from .xml_reader import Children, XmlReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How files are read. `include` and `exclude` are searched for in labels."""

    zone: tzinfo = UTC
    stamps: Stamps = Stamps.AUTO
    children: Children = Children.ALL
    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None

    def wants(self, label: str) -> bool:
        """Whether samples of this label count."""
        if self.include and not self.include.search(label):
            return False
        return not (self.exclude and self.exclude.search(label))


def read(source: Source, reading: Reading, findings: Findings) -> Iterator[Sample]:
    """The samples of one file, with `at_ms` being their start; what is odd goes to `findings`.

    Raises BadResults when the file is empty or is no result file.
    """
    samples = started(_read(source, reading, findings), reading.stamps, findings, file=source.name)
    if not (reading.include or reading.exclude):
        yield from samples
        return
    wanted: dict[str, bool] = {}
    for sample in samples:
        label = sample.label
        if label not in wanted:
            wanted[label] = reading.wants(label)
        if wanted[label]:
            yield sample


def _read(source: Source, reading: Reading, findings: Findings) -> Iterator[Sample]:
    with source.open() as raw:
        try:
            head = raw.read(4096)
            raw.seek(0)
        except BROKEN as error:
            raise BadResults(f"{source.name} is not a whole gz file ({error}); upload it again") from error
        if not head:
            raise BadResults(f"{source.name} is empty: JMeter wrote nothing into it")
        if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
            yield from XmlReader(source.name, reading.children, findings).read(raw)
        else:
            yield from CsvReader(source.name, reading.zone, findings).read(raw)
