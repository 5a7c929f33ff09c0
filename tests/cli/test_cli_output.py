# SPDX-License-Identifier: Apache-2.0
"""What others wrote never does anything to a terminal."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.cli import output
from longshore.cli.run_view import duration, in_a_line

ESC = "\x1b"
DANGEROUS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain\ttext", "plain\ttext"),
        (f"{ESC}[31mred{ESC}[0m", "red"),
        (f"{ESC}[2J{ESC}[1;1Hgone", "gone"),
        (f"{ESC}]0;title\x07after", "after"),
        (f"{ESC}]8;;http://x{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}P1$r{ESC}\\dcs", "dcs"),
        (f"{ESC}c reset", " reset"),
        ("\x9b2Jc1", "c1"),
        ("a\rb\x08c\x00", "abc"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("half\ud800", "half\\ud800"),
    ],
)
def test_control_sequences_are_taken_out_and_turning_marks_made_visible(given: str, shown: str) -> None:
    assert output.clean(given) == shown


def test_only_colours_stay_when_they_are_wanted_and_they_end_with_the_text() -> None:
    assert output.clean(f"{ESC}[1;31mred{ESC}[2K", colours=True) == f"{ESC}[1;31mred{ESC}[0m"


@given(st.text())
def test_no_text_at_all_gets_through_with_something_dangerous(text: str) -> None:
    assert not DANGEROUS.search(output.clean(text))
    assert not DANGEROUS.search(re.sub(r"\x1b\[[0-9;:]*m", "", output.clean(text, colours=True)))


@pytest.mark.parametrize("piece", [f"{ESC}]", "\x9d", f"{ESC}[", "\x9b0", f"{ESC}P", f"{ESC} "])
def test_a_line_of_unfinished_sequences_takes_no_longer_than_its_length(piece: str) -> None:
    began = time.process_time()

    output.clean(piece * 60_000)

    assert time.process_time() - began < 20


def test_a_table_in_a_pipe_is_lines_of_columns_divided_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "size"), [("a\nb\tc", output.Bytes(1500)), (None, True)])

    assert capsys.readouterr().out == "a b c\t1500\n\tyes\n"


def test_people_get_titles_and_words_and_no_markup_of_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    output.table(("name", "size"), [("[red]x[/red]", output.Bytes(1500))])

    shown = capsys.readouterr().out
    assert "NAME" in shown
    assert "[red]x[/red]" in shown
    assert "1.5 kB" in shown


def test_a_document_is_strict_and_safe_for_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.document({"text": "\x1b[2J\u202e"})

    assert capsys.readouterr().out == '{"text": "\\u001b[2J\\u202e"}\n'


def test_items_are_one_document_however_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1, 3):
        with output.items() as put:
            for number in range(count):
                put({"n": number})

        assert len(__import__("json").loads(capsys.readouterr().out)["items"]) == count


def test_items_that_fail_before_the_first_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LookupError), output.items():
        raise LookupError

    assert capsys.readouterr().out == ""


def test_a_log_line_in_a_pipe_has_no_colours_of_its_handler(capsys: pytest.CaptureFixture[str]) -> None:
    output.log_line({"at": "2026-11-24T10:00:00.123456Z", "stream": "stdout", "text": f"{ESC}[31mx"})

    assert capsys.readouterr().out == "2026-11-24T10:00:00.123Z stdout x\n"


def test_sizes_and_times_in_words() -> None:
    assert [output.size_in_words(n) for n in (0, 999, 1500, 2_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
    ]
    assert [duration(ms) for ms in (None, 12, 1500, 65_000)] == ["", "12 ms", "1.5 s", "1 min 5 s"]


def test_a_run_in_a_line_says_why() -> None:
    failed = {"state": "failed", "error": {"type": "ValueError", "message": "no"}, "usage": {"wall_ms": 1200}}

    assert in_a_line(failed) == "failed: ValueError: no (1.2 s)"
    assert in_a_line({"state": "timed_out", "reason": "took too long"}) == "timed_out: took too long"
