# SPDX-License-Identifier: Apache-2.0
"""What a handler printed, as lines that are safe to show."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.domain.logs import Level
from longshore.interceptor.lines import CUT, LINE_BYTES, Line, LineSplitter, clean, level_of


def split(*chunks: bytes) -> list[Line]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


def texts(*chunks: bytes) -> list[str]:
    return [line.text for line in split(*chunks)]


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"one\r\ntwo\r\n\r\n", ["one", "two", ""]),
        (b"one\r\r\ntwo\n", ["one", "two"]),
        (b"\r 10%\r 20%\r 30%\ndone\n", [" 10%", " 20%", " 30%", "done"]),
        (b"\n\rx\r", ["", "x"]),
        (b"\r", []),
        (b"", []),
        (b"no end", ["no end"]),
        (b"\xff\xfe and \xe2\x82\nnext \xe2\x82\xac\n", ["\ufffd\ufffd and \ufffd", "next €"]),
        (b"a\x00b\x07c\x08d\x7fe\tf\n", ["abcde\tf"]),
    ],
)
def test_lines_end_where_people_think_they_do(printed: bytes, lines: list[str]) -> None:
    assert texts(printed) == lines


@given(
    st.lists(st.sampled_from([b"a", b"\xe2\x82\xac", b"\n", b"\r", b"\r\n", b"b\x1b[31m", b"\x00"])),
    st.data(),
)
def test_where_the_chunks_end_makes_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert texts(*chunks) == texts(whole)


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;5;196mx\x1b[m", "\x1b[38;5;196mx\x1b[m"),
        ("a\x1b[2J\x1b[1;1Hb", "ab"),
        ("a\x1b[?25lb", "ab"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b]52;c;never ended\nnext", "a\nnext"),
        ("a\x1bPdevice\x1b\\b", "ab"),
        ("a\x1b(Bb\x1bcc", "abc"),
        ("a\x9b31mb\x85c", "a31mbc"),
        ("a\x1b", "a"),
        ("a\x1b[", "a"),
    ],
)
def test_of_what_commands_a_terminal_only_colours_stay(printed: str, kept: str) -> None:
    assert clean(printed) == kept


@given(st.text(alphabet=st.characters(max_codepoint=0x9F)))
def test_no_control_character_gets_through(printed: str) -> None:
    for line in texts(printed.encode()):
        bare = "".join(clean(line).split("\x1b["))
        assert all(c == "\t" or (ord(c) >= 32 and not 0x7F <= ord(c) <= 0x9F) for c in bare)


def test_a_line_that_is_too_long_is_cut_visibly_and_its_rest_dropped() -> None:
    long = b"x" * (10 * 2**20)
    chunks = [long[at : at + 16384] for at in range(0, len(long), 16384)]

    first, second = texts(*chunks, b"rest\nnext\n")

    assert first == "x" * LINE_BYTES + CUT
    assert second == "next"


def test_a_long_line_in_one_piece_is_cut_too() -> None:
    first, second = texts(b"y" * (LINE_BYTES + 1) + b"\nnext\n")

    assert first.endswith(CUT)
    assert second == "next"


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    for end in (b"\n", b"\r\n", b""):
        assert texts(b"z" * LINE_BYTES + end) == ["z" * LINE_BYTES]
        assert texts(b"z" * LINE_BYTES + end[:1], end[1:]) == ["z" * LINE_BYTES]


def test_a_cut_never_leaves_half_a_character() -> None:
    first, *_ = texts("€".encode() * LINE_BYTES + b"\n")

    assert first == "€" * (LINE_BYTES // 3) + CUT


def test_the_end_of_a_cut_line_may_be_any_kind() -> None:
    long = b"x" * (LINE_BYTES + 1)
    for end in (b"\n", b"\r\n", b"\r"):
        assert texts(long, end, b"next\n")[1:] == ["next"]
        assert texts(long + end, b"next\n")[1:] == ["next"]
        assert texts(long, b"more" + end[:1], end[1:] + b"next\n")[1:] == ["next"]


def test_a_long_line_of_nothing_is_marked() -> None:
    assert texts(b"\x00" * (LINE_BYTES + 1), b"\nnext\n") == [CUT, "next"]


def test_random_bytes_never_break_it() -> None:
    noise = random.Random(7)
    splitter = LineSplitter()
    for _ in range(200):
        for line in splitter.feed(noise.randbytes(5000)):
            line.text.encode()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[INFO]\t2024-01-01T00:00:00.000Z\t0190-id\tmsg", Level.INFO),
        ("[ERROR] ValueError: no", Level.ERROR),
        ("[WARNING] LAMBDA_WARNING: Unhandled exception.", Level.WARNING),
        ("WARNING:root:careful", Level.WARNING),
        ("WARNING a notice", Level.WARNING),
        ("2024-01-01 10:00:00,123 - my.app - ERROR - broken", Level.ERROR),
        ("2024-01-01T10:00:00.123Z\t0190cafe-0000-7000-8000-000000000000\tINFO\thello", Level.INFO),
        ("2024-01-01 10:00:00 CRITICAL boom", Level.CRITICAL),
        ("\x1b[31mERROR\x1b[0m broken", Level.ERROR),
        ("error: cannot find it", Level.ERROR),
        ("Warning: old", Level.WARNING),
        ("DEBUG", Level.DEBUG),
        ('{"time": 1, "level": "warn", "msg": "x"}', Level.WARNING),
        ('{"level": "odd"}', None),
        ("Traceback (most recent call last):", Level.ERROR),
        ("ERROR_COUNT=0", None),
        ("INFORMATION", None),
        ("Errors were found: none", None),
        ("all is well", None),
        ("", None),
    ],
)
def test_the_level_is_the_one_that_the_line_names(text: str, level: Level | None) -> None:
    assert level_of(text) is level


def test_a_traceback_is_an_error_to_its_last_line() -> None:
    printed = b'Traceback (most recent call last):\n  File "x"\n    raise\nKeyError: 1\nfine again\n'

    assert [line.level for line in split(printed)] == [Level.ERROR] * 4 + [None]


def test_the_official_clients_record_is_taken_apart_again() -> None:
    record = "[ERROR] KeyError: 'x'\rTraceback (most recent call last):\r\xa0\xa0File \"/var/task/a.py\"\n"

    assert split(record.encode(), b"fine\n") == [
        Line("[ERROR] KeyError: 'x'", Level.ERROR),
        Line("Traceback (most recent call last):", Level.ERROR),
        Line('  File "/var/task/a.py"', Level.ERROR),
        Line("fine", None),
    ]
