# SPDX-License-Identifier: Apache-2.0
"""Percentiles of values that are counted, not listed: response times are whole milliseconds.

    method    of n sorted values at p %             who else does it so
    EXACT     position p(n+1)/100, all values       Commons Math LEGACY, R type 6, numpy "weibull"
    JMETER    the same, over the last 20,000 only   JMeter's HTML dashboard
    LINEAR    position p(n-1)/100 + 1, all values   R type 7, numpy and pandas by default, Carrier

A position between two values is interpolated; before the first or behind the last it is that value.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

JMETER_WINDOW = 20_000
"""JMeter's own default of jmeter.reportgenerator.statistic_window."""


class Method(StrEnum):
    """How a percentile is computed; reports name it, because small samples differ widely."""

    EXACT = "exact"
    JMETER = "jmeter"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distinct values in order, and how many values there are up to each of them."""

    values: tuple[int, ...]
    up_to: tuple[int, ...]

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> "Distribution":
        """From how often each value occurred."""
        values = tuple(sorted(value for value, count in counts.items() if count))
        return cls(values, tuple(accumulate(counts[value] for value in values)))

    @property
    def count(self) -> int:
        """How many values there are."""
        return self.up_to[-1] if self.up_to else 0

    def percentile(self, percent: float, method: Method) -> float:
        """The value at `percent` % of the way; there must be at least one value."""
        n = self.count
        if method is Method.LINEAR:
            return self._at(percent * (n - 1) / 100 + 1)
        return self._at(percent * (n + 1) / 100)

    def share_up_to(self, value: float) -> int:
        """How many values are not above `value`."""
        place = bisect_left(self.values, value)
        if place < len(self.values) and self.values[place] == value:
            return self.up_to[place]
        return self.up_to[place - 1] if place else 0

    def _at(self, position: float) -> float:
        """The value at a position that counts from 1 and may lie between two values."""
        if position < 1:
            return float(self.values[0])
        if position >= self.count:
            return float(self.values[-1])
        whole = int(position)
        lower = self._ranked(whole)
        return lower + (position - whole) * (self._ranked(whole + 1) - lower)

    def _ranked(self, rank: int) -> int:
        return self.values[bisect_left(self.up_to, rank)]
