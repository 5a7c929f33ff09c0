# SPDX-License-Identifier: Apache-2.0
"""One call from result files to numbers: what servers and tasks use."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .errors import BadResults
from .findings import Finding, Findings
from .jtl import Reading, read
from .percentiles import JMETER_WINDOW, Method
from .sample import Sample
from .sources import Source
from .stamps import is_sub_sample
from .statistics import Apdex, Statistics, statistics
from .tally import Tallies

FEW_SAMPLES = 100
"""Below this a 99th percentile is the largest value, or near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to compute. Trimmed seconds are cut from the ends of the whole test."""

    reading: Reading = field(default_factory=Reading)
    method: Method = Method.EXACT
    apdex: Apdex = field(default_factory=Apdex)
    trim_start_s: float = 0
    trim_end_s: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead:
    """One file's part: how many samples counted, and the most users that its generator had at a time."""

    name: str
    samples: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A test in numbers. `ramp_up_ms` is None where the files do not say how many users there were."""

    statistics: Statistics
    files: tuple[FileRead, ...]
    findings: tuple[Finding, ...]
    users: int
    ramp_up_ms: int | None


@dataclass(slots=True)
class _Users:
    """The most users of one generator, and when there were so many first."""

    most: int = 0
    since_ms: int = 0

    def watch(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        most = 0
        for sample in samples:
            if sample.users > most:
                self.most, self.since_ms = most, _ = sample.users, sample.at_ms
            yield sample


def summarize(sources: Sequence[Source], wanted: Wanted) -> Summary:
    """Read every file once (twice when the ends are trimmed) and compute.

    Raises BadResults when one is no result file, or none of them has a sample that counts.
    """
    findings = Findings()
    window = _trimmed(sources, wanted) if wanted.trim_start_s or wanted.trim_end_s else None
    tallies = Tallies(wanted.method, findings)
    files, all_users = [], []
    for source in sources:
        users = _Users()
        samples = users.watch(_within(read(source, wanted.reading, findings), window))
        files.append(_counted(source, samples, users, tallies))
        all_users.append(users)
    _check(files, findings, window)
    result = statistics(tallies, wanted.apdex)
    _remark(tallies, result, findings)
    reached = [users.since_ms for users in all_users if users.most]
    return Summary(
        statistics=result,
        files=tuple(files),
        findings=tuple(findings),
        users=sum(users.most for users in all_users),
        ramp_up_ms=max(reached) - result.total.first_ms if reached else None,
    )


def _counted(source: Source, samples: Iterator[Sample], users: _Users, tallies: Tallies) -> FileRead:
    count = tallies.add_all(samples)
    if not count:
        tallies.findings.add("no-samples", "it has no sample that counts", file=source.name)
    return FileRead(name=source.name, samples=count, users=users.most)


def _trimmed(sources: Sequence[Source], wanted: Wanted) -> tuple[float, float]:
    """The first and last moment in which a sample may start."""
    first, last = 1 << 62, -(1 << 62)
    for source in sources:
        for sample in read(source, wanted.reading, Findings()):
            first = min(first, sample.at_ms)
            last = max(last, sample.at_ms + sample.elapsed_ms // sample.times)
    return first + wanted.trim_start_s * 1000, last - wanted.trim_end_s * 1000


def _within(samples: Iterator[Sample], window: tuple[float, float] | None) -> Iterator[Sample]:
    if window is None:
        return samples
    first, last = window
    return (sample for sample in samples if first <= sample.at_ms <= last)


def _check(files: Sequence[FileRead], findings: Findings, window: object) -> None:
    if any(file.samples for file in files):
        return
    names = ", ".join(file.name for file in files)
    said = [str(one) for one in findings if one.code != "no-samples"][:5]
    why = f" ({'; '.join(said)})" if said else ""
    trim = ", or the trimmed ends leave nothing" if window else ""
    raise BadResults(
        f"{names}: there is no sample that counts{why}. It wrote none, or all were left out{trim}"
    )


def _remark(tallies: Tallies, result: Statistics, findings: Findings) -> None:
    """What a reader of these numbers should know."""
    count = result.total.count
    if tallies.weighted:
        message = f"{tallies.weighted} rows stand for several requests each (SampleCount) and are weighted so"
        findings.add("weighted", message)
    if tallies.empty_controllers:
        message = f"{tallies.empty_controllers} empty transaction controllers are left out, as JMeter does"
        findings.add("empty-controllers", message)
    if not tallies.requests:
        findings.add("only-controllers", "there are only transaction controllers; Total is made of them")
    if result.method is Method.JMETER and count > JMETER_WINDOW:
        message = (
            f"percentiles are those of the last {JMETER_WINDOW} values of each row, as in JMeter's dashboard;"
            " the method exact takes all"
        )
        findings.add("jmeter-window", message)
    if few := sum(row.count < FEW_SAMPLES for row in result.transactions):
        message = (
            f"{few} of {len(result.transactions)} transactions have fewer than {FEW_SAMPLES} samples;"
            " their p99 says little"
        )
        findings.add("few-samples", message)
    if subs := _sub_samples(tallies):
        message = (
            f"{subs} labels are redirects or embedded resources of others ('Login-0' of 'Login') and count in"
            r" Total, as in JMeter; leave them out with label_exclude=-\d+$"
        )
        findings.add("sub-samples", message)


def _sub_samples(tallies: Tallies) -> int:
    parents = ((label, label.rpartition("-")[0]) for label in tallies.labels)
    return sum(parent in tallies.requests and is_sub_sample(label, parent) for label, parent in parents)
