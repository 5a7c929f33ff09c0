# SPDX-License-Identifier: Apache-2.0
"""Every shape of result file that there is: read, or refused with a sentence."""

import gzip
import zipfile
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from tests.unit.results.jtl_files import EDGE, HEADER, ORACLE, codes, csv, line, put, read, said

from longshore.results.errors import BadResults
from longshore.results.jtl import Reading
from longshore.results.sources import located, sources
from longshore.results.summary import Summary, Wanted
from longshore.results.xml_reader import Children

AT = 1_700_000_000_000
TEN = [line(AT + number * 1000, 100 + number) for number in range(10)]


def numbers(summary: Summary) -> tuple[int, float, float | None]:
    total = summary.statistics.total
    return total.count, total.mean_ms, total.throughput_per_s


def test_multiple_lines_in_a_field() -> None:
    summary = read(EDGE / "multiLineCSV.jtl")

    labels = [row.label for row in summary.statistics.transactions]
    assert labels[0] == "Preparation: Login"
    assert 'method":"id"' in labels[1]
    assert "\n" in labels[1]
    assert (summary.statistics.total.count, summary.statistics.total.errors) == (2, 1)


def test_csv_without_a_header() -> None:
    summary = read(EDGE / "JENKINS-16627_CSV_instead_of_XML.jtl")

    total = summary.statistics.total
    assert (total.count, total.min_ms, total.max_ms) == (3, 59, 2204)
    seconds = (1393227743132 + 2204 - 1393227741256) / 1000
    assert total.received_kb_per_s == pytest.approx((3478 + 3100 + 19714) / 1024 / seconds)


def test_a_headerless_file_of_jmeter_5_gives_what_the_one_with_a_header_gives(tmp_path: Path) -> None:
    text = (ORACLE / "loadqa.jtl").read_text()
    bare = put(tmp_path, text.partition("\n")[2])

    assert read(bare).statistics == read(ORACLE / "loadqa.jtl").statistics


def test_formatted_time_stamps_are_taken_in_the_given_zone() -> None:
    path = EDGE / "JMeterPublisher_formatted_timeStamp.csv"
    plus_two = Wanted(reading=Reading(zone=timezone(timedelta(hours=2))))

    here, there = read(path), read(path, wanted=plus_two)

    assert here.statistics.total.first_ms == 1393227741256
    assert here.statistics.total.first_ms - there.statistics.total.first_ms == 2 * 3_600_000
    assert "local-time" in codes(here)
    assert here.statistics.total.errors == 1


@pytest.mark.parametrize(
    "text",
    [
        "2023/11/14 22:13:20",
        "2023-11-14 22:13:20.000",
        "2023-11-14 22:13:20,000",
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        "11/14/23 22:13:20",
    ],
)
def test_time_stamps_are_read_in_many_formats(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, csv([f'"{text}",10,a,true'], header="timeStamp,elapsed,label,success"))

    assert read(path).statistics.total.first_ms == AT


def test_xml_gives_a_row_for_each_sample() -> None:
    summary = read(EDGE / "JMeterResultsMultiLevel.jtl")

    assert summary.statistics.total.count == 10
    assert {row.label: row.count for row in summary.statistics.transactions} == {"Home": 6, "Workgroup": 4}
    assert read(EDGE / "JMeterResultsTenSamples.jtl").statistics.total.count == 10
    assert read(EDGE / "jmeter_sample_log1b.head.xml.jtl").statistics.total.count == 198


NESTED = f"""<?xml version="1.0" encoding="UTF-8"?>
<testResults version="1.2">
<sample t="300" ts="{AT}" s="true" lb="Shop" rc="200" rm="Number of samples in transaction : 2" tn="T 1-1">
  <httpSample t="100" ts="{AT}" s="true" lb="Login" rc="200" rm="OK" tn="T 1-1" by="10" sby="5" na="3"/>
  <httpSample t="200" ts="{AT + 100}" s="false" lb="Search" rc="500" rm="Error" tn="T 1-1" by="20">
    <responseData class="java.lang.String">{"x" * 200_000}</responseData>
  </httpSample>
</sample>
</testResults>
"""


def test_nested_xml_samples_count_as_they_would_in_csv(tmp_path: Path) -> None:
    path = put(tmp_path, NESTED)

    everything = read(path)
    top = read(path, wanted=Wanted(reading=Reading(children=Children.TOP)))

    assert [row.label for row in everything.statistics.transactions] == ["Shop", "Login", "Search"]
    assert (everything.statistics.total.count, everything.statistics.total.errors) == (2, 1)
    assert everything.users == 3
    assert [row.label for row in top.statistics.transactions] == ["Shop"]


def test_white_space_may_come_before_xml(tmp_path: Path) -> None:
    plain = read(EDGE / "whitespace-followed-by-xml.jtl")
    path = put(tmp_path, b"\xef\xbb\xbf \r\n\n " + (EDGE / "whitespace-followed-by-xml.jtl").read_bytes())

    assert plain.statistics.total.count == 8
    assert read(path).statistics == plain.statistics


def test_xml_that_breaks_off_gives_its_complete_samples(tmp_path: Path) -> None:
    path = put(
        tmp_path, NESTED.replace("</testResults>\n", NESTED.partition(">\n")[2].partition(">\n")[2][:180])
    )

    summary = read(path)

    assert summary.statistics.total.count == 2
    assert codes(summary) == ["truncated"]
    assert "the complete samples before this place count" in said(summary)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    with_commas = put(tmp_path, csv(TEN), "comma.jtl")
    path = put(tmp_path, csv(TEN).replace(",", delimiter))

    assert read(path).statistics == read(with_commas).statistics


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    path = put(
        tmp_path, csv(["true,Home,extra,50,1700000000000"], header="success,label,my_var,elapsed,timestamp")
    )

    summary = read(path)

    assert numbers(summary) == (1, 50.0, 20.0)
    assert codes(summary) == []


def test_bom_crlf_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    plain = read(put(tmp_path, csv(TEN), "plain.jtl")).statistics
    text = "\n\n" + csv(TEN).replace(f"{TEN[3]}\n", f"{TEN[3]}\n\n")

    dos = read(put(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), "dos.jtl"))
    wide = read(put(tmp_path, text.encode("utf-16"), "wide.jtl"))

    assert dos.statistics == plain
    assert wide.statistics == plain
    assert codes(dos) == []


def test_a_last_row_that_is_cut_off_is_left_out_and_named(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv(TEN)[:-60]))

    assert summary.statistics.total.count == 9
    assert codes(summary) == ["truncated"]
    assert "x.jtl, line 11: the last row ends after" in said(summary)


def test_a_second_header_changes_the_columns(tmp_path: Path) -> None:
    text = csv(TEN) + csv([f"Home,true,100,{AT}"], header="label,success,elapsed,timeStamp")

    summary = read(put(tmp_path, text))

    assert summary.statistics.total.count == 11
    assert codes(summary) == ["second-header"]
    assert "line 12" in said(summary)


def test_mixed_time_stamps_are_pointed_out(tmp_path: Path) -> None:
    rows = [*TEN, TEN[0].replace(str(AT), "2023/11/14 22:13:20")]

    summary = read(put(tmp_path, csv(rows)))

    assert summary.statistics.total.count == 11
    assert codes(summary) == ["local-time", "mixed-stamps"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "x.jtl is empty"),
        (b" \n\n", "nothing but white space"),
        (HEADER.encode() + b"\n", "there is no sample that counts"),
        (
            b"timeStamp,elapsed,success\n1,2,true\n",
            "has no column label. Needed are timeStamp, elapsed, label",
        ),
        (b"hello world\n", "is not a JMeter result file: it begins with 'hello world'"),
        (b"<html><body/></html>", "begins with <html>, not with <testResults>"),
        (b'{"metrics": []}', "A CSV begins with a header"),
        (b"\x1f\x8b\x08nonsense", "is not a whole gz file"),
        (b"PK\x03\x04nonsense", "is not a whole zip file"),
    ],
)
def test_what_is_no_result_file_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(BadResults) as refused:
        read(put(tmp_path, content))

    assert words in refused.value.message
    assert "x.jtl" in refused.value.message


def test_the_empty_file_of_a_real_test_is_refused() -> None:
    with pytest.raises(BadResults, match=r"emptyfile\.jtl is empty"):
        read(EDGE / "emptyfile.jtl")


def test_several_generators_are_one_test(tmp_path: Path) -> None:
    one = put(tmp_path, csv(TEN[:5]), "one.jtl")
    two = put(tmp_path, gzip.compress(csv(TEN[5:]).encode()), "two.jtl.gz")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(one, "a/jmeter.jtl")
        archive.write(two, "b/jmeter.jtl.gz")
        archive.writestr("a/simulation-errors.log", "Request: no\n")
    whole = read(put(tmp_path, csv(TEN), "whole.jtl"))

    apart, packed = read(one, two), read(tmp_path / "all.zip")

    assert apart.statistics == whole.statistics
    assert packed.statistics == whole.statistics
    assert [file.name for file in packed.files] == ["all.zip/a/jmeter.jtl", "all.zip/b/jmeter.jtl.gz"]


def test_a_zip_without_results_says_what_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("simulation-errors.log", "no")

    with pytest.raises(BadResults, match=r"has no .* in it; it has simulation-errors\.log"):
        sources([tmp_path / "x.zip"])


def test_a_gz_that_is_cut_off_gives_what_could_be_read(tmp_path: Path) -> None:
    packed = gzip.compress(csv([line(AT + n, n * 7919 % 4999) for n in range(20_000)]).encode())

    summary = read(put(tmp_path, packed[: len(packed) // 2], "x.jtl.gz"))

    assert 1000 < summary.statistics.total.count < 20_000
    assert codes(summary)[0] == "truncated"


def test_files_are_located_by_name_and_by_pattern_and_each_once(tmp_path: Path) -> None:
    one, two = put(tmp_path, "x", "one.jtl"), put(tmp_path, "x", "two [1].jtl")

    assert located(["*.jtl", "one.jtl"], [tmp_path]) == [one, two]
    assert located(["two [1].jtl"], [tmp_path]) == [two]
    assert located([str(one)], []) == [one]
    with pytest.raises(BadResults, match=r"there is no file three\.jtl; looked there and in"):
        located(["three.jtl"], [tmp_path])


def test_a_file_among_others_may_have_no_samples(tmp_path: Path) -> None:
    summary = read(put(tmp_path, csv([]), "none.jtl"), put(tmp_path, csv(TEN), "ten.jtl"))

    assert summary.statistics.total.count == 10
    assert codes(summary) == ["no-samples"]


def test_utc_is_what_a_reading_takes_by_default() -> None:
    assert Reading().zone is UTC
