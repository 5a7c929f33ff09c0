# SPDX-License-Identifier: Apache-2.0
"""Files that mean harm, or come from broken disks: no crash, no silence, no endless memory."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.results.jtl_files import EDGE, HEADER, codes, csv, line, put, read, said

from longshore.results import csv_reader
from longshore.results.errors import BadResults
from longshore.results.findings import MAX_OF_A_KIND

AT = 1_700_000_000_000
GOOD = line(AT, 100)

LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testResults version="1.2"><sample t="1" ts="1700000000000" s="true" lb="&b;"/></testResults>
"""
OUTSIDE = """<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<testResults><sample t="1" ts="1700000000000" s="true" lb="&x;"/></testResults>
"""


@pytest.mark.parametrize("content", [LAUGHS, OUTSIDE])
def test_document_types_and_entities_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadResults, match="declares a document type or an entity"):
        read(put(tmp_path, content))


def test_xml_without_a_bottom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match="nested deeper than 100 elements"):
        read(put(tmp_path, "<testResults>" + "<a>" * 500))


def test_a_field_of_ten_megabytes_is_a_field(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv([line(AT, 100, "x" * 10_000_000), GOOD])))

    assert summary.statistics.total.count == 2
    assert len(summary.statistics.transactions[0].label) == 10_000_000


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "MAX_LINE_CHARS", 10_000)

    with pytest.raises(BadResults, match="line 2 is longer than 10000 characters"):
        read(put(tmp_path, csv(["x" * 20_000])))


OPEN_QUOTE = f'{AT},100,"Home,200,OK,T,text,true'


def test_a_quote_that_is_never_closed_swallows_nothing_in_silence(tmp_path: Path) -> None:
    plain = GOOD.replace('"', "")

    summary = read(put(tmp_path, csv([GOOD, OPEN_QUOTE, plain, plain])))

    assert summary.statistics.total.count == 1
    assert codes(summary) == ["truncated"]
    assert "x.jtl, line 3: a quote that begins here is never closed; lines 3 to 5 are left out" in said(
        summary
    )


def test_rows_behind_bad_quotes_are_read(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv([GOOD, OPEN_QUOTE, GOOD, GOOD, GOOD])))

    assert summary.statistics.total.count == 3
    assert codes(summary) == ["bad-quotes"]
    assert "lines 3 to 4 are left out" in said(summary)


def test_nul_bytes_are_damage_and_not_samples(tmp_path: Path) -> None:
    content = csv([GOOD]).encode() + b"\x00" * 5000 + b"\n" + GOOD.encode() + b"\n"

    summary = read(put(tmp_path, content))

    assert summary.statistics.total.count == 2
    assert codes(summary) == ["short-row"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("elapsed", "abc", "elapsed is 'abc'; a whole number of milliseconds belongs there"),
        ("elapsed", "1.5", "elapsed is '1.5'"),
        ("elapsed", "9" * 30, "elapsed is '99999"),
        ("timeStamp", "yesterday", "timeStamp is 'yesterday'; milliseconds since 1970 belong there"),
        ("timeStamp", "-5", "timeStamp is '-5'"),
        ("timeStamp", "2023/13/45 99:00:00", "timeStamp is '2023/13/45 99:00:00'"),
        ("success", "maybe", "success is 'maybe'; true or false belongs there"),
    ],
)
def test_a_bad_value_is_named_with_its_row(tmp_path: Path, field: str, value: str, words: str) -> None:
    fields = GOOD.split(",")
    fields[HEADER.split(",").index(field)] = value

    summary = read(put(tmp_path, csv([GOOD, ",".join(fields), GOOD])))

    assert summary.statistics.total.count == 2
    assert codes(summary) == ["bad-value"]
    assert f"x.jtl, line 3: {words}" in said(summary)


@pytest.mark.parametrize("value", ["many", "-1", "9" * 5000])
def test_a_bad_optional_value_counts_as_nothing_and_is_named(tmp_path: Path, value: str) -> None:
    fields = GOOD.split(",")
    fields[HEADER.split(",").index("bytes")] = value

    summary = read(put(tmp_path, csv([",".join(fields)])))

    assert summary.statistics.total.received_kb_per_s == 0
    assert codes(summary) == ["bad-value"]
    assert "it counts as 0" in said(summary)


def test_bad_values_in_xml_are_named_with_their_line(tmp_path: Path) -> None:
    good = f'<sample t="1" ts="{AT}" s="true" lb="a"/>'
    bad = good.replace('t="1"', 't="fast"')

    summary = read(put(tmp_path, f"<testResults>\n{good}\n{bad}\n{good}\n</testResults>"))

    assert summary.statistics.total.count == 2
    assert "x.jtl, line 3: t is 'fast'" in said(summary)


def test_an_unquoted_delimiter_is_named_and_not_guessed(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv([GOOD, GOOD.replace("Home", "Home, sweet home")])))

    assert summary.statistics.total.count == 1
    assert codes(summary) == ["long-row"]


def test_a_clock_that_was_set_back_is_named(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv([GOOD, line(AT, -40)])))

    assert summary.statistics.total.min_ms == -40
    assert codes(summary) == ["negative-time"]


def test_a_million_bad_rows_are_not_a_million_sentences(tmp_path: Path) -> None:
    bad = GOOD.replace(",100,", ",abc,")

    summary = read(put(tmp_path, csv([GOOD, *[bad] * 5000])))

    assert codes(summary) == ["bad-value"] * (MAX_OF_A_KIND + 1)
    assert "4990 more findings of the kind bad-value" in said(summary)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), cuts=st.integers(1, 30))
def test_damage_anywhere_gives_numbers_with_findings_or_a_sentence(
    tmp_path: Path, seed: int, cuts: int
) -> None:
    chance = random.Random(seed)
    names = ("filewithtransactions.csv", "multiLineCSV.jtl", "JMeterResultsMultiLevel.jtl")
    content = bytearray((EDGE / chance.choice(names)).read_bytes())
    for _ in range(cuts):
        start = chance.randrange(len(content))
        content[start : start + chance.randrange(6)] = chance.randbytes(chance.randrange(6))

    try:
        summary = read(put(tmp_path, bytes(content)))
    except BadResults:
        return
    assert summary.statistics.total.count >= 1
    assert summary.statistics.jmeter()
