# SPDX-License-Identifier: Apache-2.0
"""Gates: a verdict, and its reasons in words."""

from tests.unit.results.jtl_files import ORACLE, read

from longshore.results.gates import Limits, Verdict, judged

UTEC = read(ORACLE / "utec.jtl").statistics


def test_without_a_threshold_there_is_no_verdict() -> None:
    judgement = judged(UTEC, Limits())

    assert (judgement.verdict, judgement.justification) == (Verdict.NO_GATE, "no threshold was given")


def test_a_test_that_keeps_its_limits_succeeds() -> None:
    judgement = judged(UTEC, Limits(response_time_s=8, throughput_per_s=10, error_pct=2))

    assert judgement.verdict is Verdict.SUCCESS
    assert "throughput >= 10 req/s: 22.908 req/s" in judgement.justification


def test_every_reason_of_a_failure_is_named() -> None:
    judgement = judged(UTEC, Limits(percent=95, response_time_s=4, throughput_per_s=23, error_pct=0.5))

    assert judgement.verdict is Verdict.FAILED
    assert [reason for gate in judgement.gates for reason in gate.reasons] == [
        "p95 of 'GET - Delay 1s' is 4.3743 s, above the limit of 4 s",
        "the throughput is 22.908 req/s, below the limit of 23 req/s",
        "the error rate is 0.943396 %, above the limit of 0.5 %",
    ]


def test_a_limit_is_kept_by_what_equals_it() -> None:
    exactly = UTEC.total.error_pct

    assert judged(UTEC, Limits(error_pct=exactly)).verdict is Verdict.SUCCESS


def test_two_seconds_are_two_seconds() -> None:
    judgement = judged(UTEC, Limits(percent=50, response_time_s=2))

    assert [reason.split(" is ")[0] for gate in judgement.gates for reason in gate.reasons] == [
        "p50 of 'GET - Delay 1s'"
    ]


def test_many_reasons_are_not_all_in_one_sentence() -> None:
    statistics = read(ORACLE / "loadqa.jtl").statistics

    judgement = judged(statistics, Limits(response_time_s=0))

    assert judgement.justification.endswith("; and 9 more")
    assert len(judgement.gates[0].reasons) == 29
