# SPDX-License-Identifier: Apache-2.0
"""The statistics of a load test, per transaction and in total, by the rules of JMeter's HTML dashboard.

    rows of a label    all with that label, but for empty transaction controllers
    rows in Total      the same, without all transaction controllers
    throughput         count / (latest end - earliest start), each label within its own window
    KB/s               bytes / 1024 over the same window

APDEX: only a request that succeeded can satisfy or be tolerated; Total includes the controllers, as JMeter's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .percentiles import Distribution, Method
from .tally import Tallies, Tally

TOTAL = "Total"
PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Apdex:
    """Up to `satisfied_ms` a user is content, up to `tolerated_ms` patient."""

    satisfied_ms: float = 500
    tolerated_ms: float = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The numbers of one transaction, or of all. Rates are None where the window has no length."""

    label: str
    is_controller: bool
    count: int
    errors: int
    mean_ms: float
    min_ms: int
    max_ms: int
    percentiles_ms: Mapping[float, float]
    throughput_per_s: float | None
    received_kb_per_s: float | None
    sent_kb_per_s: float | None
    apdex: float
    first_ms: int
    last_ms: int

    @property
    def error_pct(self) -> float:
        """Errors in a hundred requests."""
        return self.errors * 100 / self.count

    def jmeter(self) -> dict[str, str | int | float | None]:
        """The row as JMeter's statistics.json names and measures things."""
        return {
            "transaction": self.label,
            "sampleCount": self.count,
            "errorCount": self.errors,
            "errorPct": self.error_pct,
            "meanResTime": self.mean_ms,
            "medianResTime": self.percentiles_ms[50.0],
            "minResTime": float(self.min_ms),
            "maxResTime": float(self.max_ms),
            "pct1ResTime": self.percentiles_ms[90.0],
            "pct2ResTime": self.percentiles_ms[95.0],
            "pct3ResTime": self.percentiles_ms[99.0],
            "throughput": self.throughput_per_s,
            "receivedKBytesPerSec": self.received_kb_per_s,
            "sentKBytesPerSec": self.sent_kb_per_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Total, and the transactions in order of appearance."""

    total: Row
    transactions: tuple[Row, ...]
    method: Method

    def jmeter(self) -> dict[str, dict[str, str | int | float | None]]:
        """The whole as JMeter's statistics.json."""
        return {row.label: row.jmeter() for row in (*self.transactions, self.total)}


def statistics(tallies: Tallies, apdex: Apdex) -> Statistics:
    """The numbers of what was counted; there must be at least one sample."""
    rows = [
        _row(
            label,
            tallies.tally(label),
            tallies,
            apdex,
            window=tallies.windows.get(label, ()),
            is_controller=label not in tallies.requests,
        )
        for label in tallies.labels
    ]
    return Statistics(total=_total(tallies, apdex), transactions=tuple(rows), method=tallies.method)


def _total(tallies: Tallies, apdex: Apdex) -> Row:
    """Of the requests; of the controllers when a file has nothing else."""
    only_controllers = not tallies.requests
    everything = tallies.everything()
    windows = tuple(value for window in tallies.windows.values() for value in window)
    return _row(
        TOTAL,
        everything if only_controllers else tallies.total(),
        tallies,
        apdex,
        window=windows if only_controllers else tallies.window_of_total,
        is_controller=only_controllers,
        apdex_of=everything,
    )


def _row(
    label: str,
    tally: Tally,
    tallies: Tallies,
    apdex: Apdex,
    *,
    window: Sequence[int],
    is_controller: bool,
    apdex_of: Tally | None = None,
) -> Row:
    counts = tally.passed + tally.failed
    count, errors = counts.total(), tally.failed.total()
    of = Distribution.of(Counter(window) if tallies.method is Method.JMETER else counts)
    seconds = (tally.last_ms - tally.first_ms) / 1000
    return Row(
        label=label,
        is_controller=is_controller,
        count=count,
        errors=errors,
        mean_ms=(sum(value * times for value, times in counts.items()) + tally.remainder_ms) / count,
        min_ms=min(counts),
        max_ms=max(counts),
        percentiles_ms={percent: of.percentile(percent, tallies.method) for percent in PERCENTS},
        throughput_per_s=_rate(count, seconds),
        received_kb_per_s=_rate(tally.received / 1024, seconds),
        sent_kb_per_s=_rate(tally.sent / 1024, seconds),
        apdex=_apdex(apdex_of or tally, apdex),
        first_ms=tally.first_ms,
        last_ms=tally.last_ms,
    )


def _rate(amount: float, seconds: float) -> float | None:
    return amount / seconds if seconds > 0 else None


def _apdex(tally: Tally, limits: Apdex) -> float:
    passed = Distribution.of(tally.passed)
    satisfied = passed.share_up_to(limits.satisfied_ms)
    tolerated = passed.share_up_to(limits.tolerated_ms) - satisfied
    return (satisfied + tolerated / 2) / (passed.count + tally.failed.total())
