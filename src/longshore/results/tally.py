# SPDX-License-Identifier: Apache-2.0
"""What is counted while samples pass by: memory grows with distinct values, never with rows.

One tally per label and kind of row; everything else (mean, percentiles, Total) is computed from them in the
end. Only JMeter's window needs the order of the values: the last 20,000 of each label, and of Total.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .findings import Findings, shown
from .percentiles import JMETER_WINDOW, Method
from .sample import Kind, Sample

MAX_LABELS = 20_000
OTHER_LABELS = "(other labels)"

Window = deque[int]


@dataclass(slots=True)
class Tally:
    """The samples of one label and kind, or the sum of such tallies."""

    passed: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    remainder_ms: int = 0
    """What is lost where a row's time is divided by the requests that it stands for."""
    received: int = 0
    sent: int = 0
    first_ms: int = 1 << 62
    last_ms: int = -(1 << 62)

    def add(self, sample: Sample) -> None:
        """Count a sample that stands for one request."""
        at, elapsed = sample.at_ms, sample.elapsed_ms
        counter = self.passed if sample.success else self.failed
        counter[elapsed] += 1
        self.received += sample.received
        self.sent += sample.sent
        if at < self.first_ms:
            self.first_ms = at
        if at + elapsed > self.last_ms:
            self.last_ms = at + elapsed

    def add_many(self, sample: Sample) -> None:
        """Count a sample that stands for several: each took the average, as in JMeter's own aggregation."""
        each, rest = divmod(sample.elapsed_ms, sample.times)
        errors = max(sample.errors, 0 if sample.success else 1)
        if errors:
            self.failed[each] += errors
        if sample.times > errors:
            self.passed[each] += sample.times - errors
        self.remainder_ms += rest
        self.received += sample.received
        self.sent += sample.sent
        self.first_ms = min(self.first_ms, sample.at_ms)
        self.last_ms = max(self.last_ms, sample.at_ms + each)

    def merge(self, other: "Tally") -> None:
        """Add what another tally has counted."""
        self.passed.update(other.passed)
        self.failed.update(other.failed)
        self.remainder_ms += other.remainder_ms
        self.received += other.received
        self.sent += other.sent
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)


@dataclass(slots=True)
class Tallies:
    """All labels of one reading."""

    method: Method
    findings: Findings
    requests: dict[str, Tally] = field(default_factory=dict)
    controllers: dict[str, Tally] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    """In order of appearance."""
    windows: dict[str, Window] = field(default_factory=dict)
    window_of_total: Window = field(default_factory=lambda: deque(maxlen=JMETER_WINDOW))
    weighted: int = 0
    empty_controllers: int = 0

    def add_all(self, samples: Iterable[Sample]) -> int:
        """Count samples as they come; the number that were counted."""
        taken = 0
        request, controller = Kind.REQUEST, Kind.CONTROLLER
        requests, keep_order = self.requests, self.method is Method.JMETER
        for sample in samples:
            taken += 1
            if sample.kind is request:
                tally = requests.get(sample.label) or self._new(sample.label, requests)
            elif sample.kind is controller:
                tally = self.controllers.get(sample.label) or self._new(sample.label, self.controllers)
            else:
                self.empty_controllers += 1
                taken -= 1
                continue
            if sample.times == 1:
                tally.add(sample)
            else:
                self.weighted += 1
                tally.add_many(sample)
            if keep_order:
                self._remember(sample)
        return taken

    def tally(self, label: str) -> Tally:
        """All rows of a label, whatever their kind."""
        both = Tally()
        for kind in (self.requests, self.controllers):
            if label in kind:
                both.merge(kind[label])
        return both

    def total(self) -> Tally:
        """All requests; controllers would count them twice."""
        return _sum(self.requests.values())

    def everything(self) -> Tally:
        """Requests and controllers: what JMeter takes for the APDEX of Total."""
        return _sum((*self.requests.values(), *self.controllers.values()))

    def _new(self, label: str, kind: dict[str, Tally]) -> Tally:
        if label not in self.labels and len(self.labels) >= MAX_LABELS:
            message = f"there are more than {MAX_LABELS} labels; {shown(label)} counts as {OTHER_LABELS}"
            self.findings.add("many-labels", message)
            label = OTHER_LABELS
        if "\ufffd" in label:
            self.findings.add("encoding", f"the label {shown(label)} has bytes that are not UTF-8")
        self.labels.setdefault(label)
        return kind.setdefault(label, Tally())

    def _remember(self, sample: Sample) -> None:
        label = sample.label if sample.label in self.labels else OTHER_LABELS
        window = self.windows.get(label)
        if window is None:
            window = self.windows.setdefault(label, deque(maxlen=JMETER_WINDOW))
        each = [sample.elapsed_ms // sample.times] * min(sample.times, JMETER_WINDOW)
        window.extend(each)
        if sample.kind is Kind.REQUEST:
            self.window_of_total.extend(each)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total
