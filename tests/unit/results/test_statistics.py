# SPDX-License-Identifier: Apache-2.0
"""What is counted, by JMeter's rules."""

import re
import statistics as standard
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.results.jtl_files import codes, csv, line, put, read, said

from longshore.results.findings import Findings
from longshore.results.jtl import Reading
from longshore.results.percentiles import JMETER_WINDOW, Method
from longshore.results.sample import Kind, Sample
from longshore.results.statistics import Apdex, statistics
from longshore.results.summary import Wanted
from longshore.results.tally import MAX_LABELS, OTHER_LABELS, Tallies

AT = 1_700_000_000_000


def sample(elapsed: int, label: str = "Home", *, success: bool = True, at: int = AT) -> Sample:
    return Sample(at, elapsed, label, success, Kind.REQUEST, "200", "T 1-1", 10, 1, 1, 1, 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000), st.sampled_from(["a", "b", "=c"]), st.booleans(), st.integers(0, 999)
        ),
        min_size=1,
        max_size=60,
    )
)
def test_counters_say_what_sorted_lists_say(rows: list[tuple[int, str, bool, int]]) -> None:
    samples = [sample(elapsed, label, success=ok, at=AT + offset) for elapsed, label, ok, offset in rows]
    tallies = Tallies(Method.EXACT, Findings())

    tallies.add_all(samples)
    found = statistics(tallies, Apdex())

    assert [row.label for row in found.transactions] == list(dict.fromkeys(one.label for one in samples))
    for row in (found.total, *found.transactions):
        mine = [one for one in samples if row is found.total or one.label == row.label]
        times = [one.elapsed_ms for one in mine]
        assert (row.count, row.errors) == (len(mine), sum(not one.success for one in mine))
        assert (row.min_ms, row.max_ms) == (min(times), max(times))
        assert row.mean_ms == pytest.approx(standard.mean(times))
        assert row.percentiles_ms[50.0] == standard.median(times)
        window = max(one.at_ms + one.elapsed_ms for one in mine) - min(one.at_ms for one in mine)
        assert row.throughput_per_s == (pytest.approx(len(mine) / window * 1000) if window else None)
        satisfied = sum(one.success and one.elapsed_ms <= 500 for one in mine)
        tolerated = sum(one.success and 500 < one.elapsed_ms <= 1500 for one in mine)
        assert row.apdex == pytest.approx((satisfied + tolerated / 2) / len(mine))


def test_the_jmeter_method_looks_at_the_last_values_only() -> None:
    slow, fast = [sample(1000)] * 5_000, [sample(10)] * JMETER_WINDOW
    exact, jmeter = Tallies(Method.EXACT, Findings()), Tallies(Method.JMETER, Findings())

    exact.add_all([*slow, *fast])
    jmeter.add_all([*slow, *fast])

    assert statistics(exact, Apdex()).total.percentiles_ms[90.0] == 1000
    windowed = statistics(jmeter, Apdex()).total
    assert windowed.percentiles_ms[90.0] == 10
    assert (windowed.count, windowed.max_ms) == (25_000, 1000)
    assert windowed.mean_ms == statistics(exact, Apdex()).total.mean_ms


def test_controllers_have_a_row_and_are_not_in_total(tmp_path: Path) -> None:
    transaction = "Number of samples in transaction : 2, number of failing samples : 0"
    empty = "Number of samples in transaction : 0, number of failing samples : 0"
    rows = [
        line(AT, 100, "Login"),
        line(AT + 100, 200, "Search"),
        line(AT, 300, "Shop", message=transaction),
        line(AT, 0, "Nothing", message=empty),
    ]

    summary = read(put(tmp_path, csv(rows)))

    assert [row.label for row in summary.statistics.transactions] == ["Login", "Search", "Shop"]
    assert [row.is_controller for row in summary.statistics.transactions] == [False, False, True]
    assert (summary.statistics.total.count, summary.statistics.total.max_ms) == (2, 200)
    assert "empty-controllers" in codes(summary)


def test_total_is_of_controllers_when_there_is_nothing_else(tmp_path: Path) -> None:
    transaction = "Number of samples in transaction : 2, number of failing samples : 0"
    path = put(tmp_path, csv([line(AT, 300, message=transaction)]))

    summary = read(path, wanted=Wanted(method=Method.JMETER))

    assert summary.statistics.total.count == 1
    assert codes(summary) == ["only-controllers"]


def test_a_row_of_the_statistical_mode_stands_for_its_requests(tmp_path: Path) -> None:
    header = "timeStamp,elapsed,label,success,bytes,SampleCount,ErrorCount"
    path = put(tmp_path, csv([f"{AT},1001,Home,false,4096,10,3"], header=header))

    summary = read(path)

    total = summary.statistics.total
    assert (total.count, total.errors, total.mean_ms, total.max_ms) == (10, 3, 100.1, 100)
    assert codes(summary) == ["weighted"]


def test_a_moment_has_no_throughput(tmp_path: Path) -> None:
    total = read(put(tmp_path, csv([line(AT, 0)]))).statistics.total

    assert (total.throughput_per_s, total.received_kb_per_s) == (None, None)


def test_labels_can_be_chosen(tmp_path: Path) -> None:
    path = put(tmp_path, csv([line(AT, 10, "Home"), line(AT, 20, "Home-0"), line(AT, 30, "Login")]))

    everything = read(path)
    without = read(path, wanted=Wanted(reading=Reading(exclude=re.compile(r"-\d+$"))))
    only = read(path, wanted=Wanted(reading=Reading(include=re.compile("^Login$"))))

    assert everything.statistics.total.count == 3
    assert "sub-samples" in codes(everything)
    assert [row.label for row in without.statistics.transactions] == ["Home", "Login"]
    assert [row.label for row in only.statistics.transactions] == ["Login"]


def test_the_ends_of_a_test_can_be_trimmed(tmp_path: Path) -> None:
    path = put(tmp_path, csv([line(AT + second * 1000, 100) for second in range(11)]))

    total = read(path, wanted=Wanted(trim_start_s=2, trim_end_s=3)).statistics.total

    assert (total.first_ms - AT, total.count) == (2000, 6)


def test_users_are_the_most_that_were_active_in_each_generator(tmp_path: Path) -> None:
    header = "timeStamp,elapsed,label,success,allThreads"
    one = put(tmp_path, csv([f"{AT},10,a,true,1", f"{AT + 5000},10,a,true,7"], header=header), "one.jtl")
    two = put(tmp_path, csv([f"{AT},10,a,true,5", f"{AT + 9000},10,a,true,4"], header=header), "two.jtl")

    summary = read(one, two)

    assert summary.users == 12
    assert summary.ramp_up_ms == 5000
    assert [(file.name, file.samples) for file in summary.files] == [("one.jtl", 2), ("two.jtl", 2)]


def test_countless_labels_do_not_take_countless_memory() -> None:
    tallies = Tallies(Method.JMETER, findings := Findings())

    tallies.add_all(sample(1, f"label {number}") for number in range(MAX_LABELS + 50))

    found = statistics(tallies, Apdex())
    assert (found.transactions[-1].label, found.transactions[-1].count) == (OTHER_LABELS, 50)
    assert found.total.count == MAX_LABELS + 50
    assert len(list(findings)) < 20


def test_small_samples_are_pointed_out(tmp_path: Path) -> None:
    assert "1 of 1 transactions have fewer than 100 samples" in said(read(put(tmp_path, csv([line(AT, 10)]))))
