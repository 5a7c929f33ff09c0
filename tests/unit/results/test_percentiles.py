# SPDX-License-Identifier: Apache-2.0
"""Percentiles from counters equal those from sorted lists, whatever the values."""

import math
import statistics as standard
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.results.percentiles import Distribution, Method

VALUES = st.lists(st.integers(min_value=-5, max_value=200), min_size=1, max_size=60)
PERCENTS = st.sampled_from([0.0, 1.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0])


def naive(values: list[int], percent: float, method: Method) -> float:
    """As the definitions have it, on a list."""
    ordered, n = sorted(values), len(values)
    position = percent * (n - 1) / 100 + 1 if method is Method.LINEAR else percent * (n + 1) / 100
    if position < 1:
        return ordered[0]
    if position >= n:
        return ordered[-1]
    below = math.floor(position)
    return ordered[below - 1] + (position - below) * (ordered[below] - ordered[below - 1])


@given(VALUES, PERCENTS, st.sampled_from(list(Method)))
def test_a_percentile_of_counted_values_is_that_of_the_listed_ones(
    values: list[int], percent: float, method: Method
) -> None:
    found = Distribution.of(Counter(values)).percentile(percent, method)

    assert found == pytest.approx(naive(values, percent, method))


@given(st.lists(st.integers(min_value=0, max_value=10_000), min_size=2, max_size=80))
def test_the_methods_are_those_of_the_standard_library(values: list[int]) -> None:
    exclusive = standard.quantiles(values, n=100, method="exclusive")
    inclusive = standard.quantiles(values, n=100, method="inclusive")
    of = Distribution.of(Counter(values))

    assert of.percentile(95, Method.LINEAR) == pytest.approx(inclusive[94])
    if len(values) >= 20:
        assert of.percentile(95, Method.EXACT) == pytest.approx(exclusive[94])


@given(VALUES, PERCENTS, PERCENTS)
def test_a_higher_percentile_is_never_lower(values: list[int], one: float, other: float) -> None:
    of = Distribution.of(Counter(values))

    low, high = sorted((one, other))

    assert of.percentile(low, Method.EXACT) <= of.percentile(high, Method.EXACT)


@given(VALUES, st.integers(min_value=-10, max_value=210))
def test_the_share_up_to_a_value_is_counted(values: list[int], limit: int) -> None:
    assert Distribution.of(Counter(values)).share_up_to(limit) == sum(value <= limit for value in values)
