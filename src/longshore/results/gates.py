# SPDX-License-Identifier: Apache-2.0
"""Gates: thresholds that a test passes or fails, and the verdict with its reasons in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .findings import shown
from .statistics import Row, Statistics

MAX_REASONS = 20
"""In one text; the gates have them all."""


class Verdict(StrEnum):
    """NO_GATE: nobody said what would be good."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    NO_GATE = "NO_GATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The thresholds; None is none. The response time is that of the `percent`th percentile."""

    percent: float = 95.0
    response_time_s: float | None = None
    throughput_per_s: float | None = None
    error_pct: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One rule, what was measured, and a sentence for each reason why it fails."""

    name: str
    rule: str
    unit: str
    limit: float
    measured: float | None
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All gates of a test."""

    gates: tuple[Gate, ...]

    @property
    def verdict(self) -> Verdict:
        """FAILED as soon as one gate fails."""
        if not self.gates:
            return Verdict.NO_GATE
        return Verdict.SUCCESS if all(gate.passed for gate in self.gates) else Verdict.FAILED

    @property
    def justification(self) -> str:
        """The reasons, or the rules that were kept."""
        if not self.gates:
            return "no threshold was given"
        if reasons := [reason for gate in self.gates for reason in gate.reasons]:
            more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
            return "; ".join(reasons[:MAX_REASONS]) + more
        return "; ".join(f"{gate.rule}: {_number(gate.measured)} {gate.unit}" for gate in self.gates)


def judged(statistics: Statistics, limits: Limits) -> Judgement:
    """What the numbers are worth by these limits."""
    gates = []
    if limits.response_time_s is not None:
        gates.append(_response_time(statistics, limits, limits.response_time_s))
    if limits.throughput_per_s is not None:
        gates.append(_throughput(statistics.total, limits.throughput_per_s))
    if limits.error_pct is not None:
        gates.append(_error_rate(statistics.total, limits.error_pct))
    return Judgement(gates=tuple(gates))


def exceeds(row: Row, limits: Limits) -> bool:
    """Whether a transaction is slower than allowed."""
    limit = limits.response_time_s
    return limit is not None and row.percentiles_ms[limits.percent] / 1000 > limit


def _response_time(statistics: Statistics, limits: Limits, limit: float) -> Gate:
    """Every transaction must keep it: an average over all hides the slow one."""
    name = f"p{limits.percent:g}"
    slow = [row for row in statistics.transactions if exceeds(row, limits)]
    return Gate(
        name="response_time",
        rule=f"{name} of every transaction <= {limit:g} s",
        unit="s",
        limit=limit,
        measured=max(row.percentiles_ms[limits.percent] for row in statistics.transactions) / 1000,
        reasons=tuple(_too_slow(slow, name, limits, limit)),
    )


def _too_slow(slow: list[Row], name: str, limits: Limits, limit: float) -> Iterator[str]:
    for row in sorted(slow, key=lambda row: -row.percentiles_ms[limits.percent]):
        seconds = row.percentiles_ms[limits.percent] / 1000
        yield f"{name} of {shown(row.label)} is {_number(seconds)} s, above the limit of {limit:g} s"


def _throughput(total: Row, limit: float) -> Gate:
    measured = total.throughput_per_s
    reasons: tuple[str, ...] = ()
    if measured is None:
        reasons = ("the throughput cannot be measured: all samples lie in one moment",)
    elif measured < limit:
        reasons = (f"the throughput is {_number(measured)} req/s, below the limit of {limit:g} req/s",)
    return Gate(
        name="throughput",
        rule=f"throughput >= {limit:g} req/s",
        unit="req/s",
        limit=limit,
        measured=measured,
        reasons=reasons,
    )


def _error_rate(total: Row, limit: float) -> Gate:
    measured = total.error_pct
    reason = f"the error rate is {_number(measured)} %, above the limit of {limit:g} %"
    return Gate(
        name="error_rate",
        rule=f"error rate <= {limit:g} %",
        unit="%",
        limit=limit,
        measured=measured,
        reasons=(reason,) if measured > limit else (),
    )


def _number(value: float | None) -> str:
    """Short, but never rounded onto the limit that it missed by little."""
    return "unknown" if value is None else f"{value:.6g}"
