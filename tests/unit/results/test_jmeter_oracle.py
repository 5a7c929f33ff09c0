# SPDX-License-Identifier: Apache-2.0
"""The numbers against JMeter's own: whole dashboards that others have published, value by value."""

import json
from statistics import quantiles

import pytest
from tests.unit.results.jtl_files import EDGE, ORACLE, codes, read

from longshore.results.percentiles import Method
from longshore.results.stamps import Stamps
from longshore.results.summary import Wanted


@pytest.mark.parametrize("name", ["utec", "loadqa"])
@pytest.mark.parametrize("method", [Method.JMETER, Method.EXACT])
def test_every_value_equals_that_of_jmeters_dashboard(name: str, method: Method) -> None:
    dashboard = json.loads((ORACLE / f"{name}.statistics.json").read_text())

    ours = read(ORACLE / f"{name}.jtl", wanted=Wanted(method=method)).statistics.jmeter()

    assert ours.keys() == dashboard.keys()
    for label, values in dashboard.items():
        assert values.pop("transaction") == ours[label].pop("transaction")
        assert ours[label] == pytest.approx(values, rel=1e-6, abs=1e-9), label


def test_a_file_whose_time_stamps_are_the_ends_of_samples_is_recognized() -> None:
    summary = read(ORACLE / "utec.jtl")

    assert codes(summary) == ["end-stamps"]
    assert summary.users == 50


def test_a_file_whose_time_stamps_are_the_starts_of_samples_is_left_as_it_is() -> None:
    for path in (
        ORACLE / "loadqa.jtl",
        EDGE / "filewithtransactions.csv",
        EDGE / "JMeterResultsMultiLevel.jtl",
    ):
        assert "end-stamps" not in codes(read(path)), path


def test_the_meaning_of_time_stamps_can_be_said_instead_of_found() -> None:
    wanted = Wanted()
    reading = type(wanted.reading)(stamps=Stamps.START)

    total = read(ORACLE / "utec.jtl", wanted=Wanted(reading=reading)).statistics.total

    assert total.last_ms - total.first_ms == 26_943


def test_linear_percentiles_are_those_of_pandas() -> None:
    rows = (ORACLE / "utec.jtl").read_text().splitlines()[1:]
    inclusive = quantiles([int(row.split(",")[1]) for row in rows], n=100, method="inclusive")

    total = read(ORACLE / "utec.jtl", wanted=Wanted(method=Method.LINEAR)).statistics.total

    for percent in (50.0, 75.0, 90.0, 95.0, 99.0):
        assert total.percentiles_ms[percent] == pytest.approx(inclusive[int(percent) - 1])
