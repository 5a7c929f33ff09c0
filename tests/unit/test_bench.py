# SPDX-License-Identifier: Apache-2.0
"""The bench's own arithmetic: its table, its reading of answers, and what becomes of what fails."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from bench.__main__ import Session
from bench.http_client import checked, is_whole
from bench.machine import pss_mb, rss_mb, tree
from bench.measure import COLD, EIGHT, MEMORY, QUICK, Measure, NotThere, Took
from bench.report import BEGIN, END, report, write
from bench.table import Figure, Kind, Row, documents, figures, markdown, text

FLOOR = Row(key="floor", kind=Kind.FLOOR, says="the floor", unit="ms")
OURS = Row(key="ours", kind=Kind.OURS, says="a run", unit="ms", floor="floor")
PEER = Row(key="peer", kind=Kind.PEER, says="a peer", unit="ms", floor="floor", ours="ours")
FAST = Row(key="fast", kind=Kind.OURS, says="answers", unit="/s")
SLOW = Row(key="slow", kind=Kind.PEER, says="a peer's answers", unit="/s", ours="fast")


def shown(failed: dict[str, str] | None = None, **took: Sequence[float]) -> dict[str, Figure]:
    groups = {COLD: [FLOOR, OURS, PEER], EIGHT: [FAST, SLOW]}
    return {figure.row.key: figure for figure in figures(groups, took, failed or {})}


def test_a_ratio_says_how_many_times_worse_whether_less_or_more_is_better() -> None:
    found = shown(floor=[1.0, 2.0, 3.0], ours=[4.0], peer=[40.0], fast=[600.0], slow=[200.0])

    assert (found["ours"].times_floor, found["ours"].times_ours) == (2.0, None)
    assert (found["peer"].times_floor, found["peer"].times_ours) == (20.0, 10.0)
    assert found["slow"].times_ours == pytest.approx(3.0)


def test_a_row_says_how_noisy_it_was() -> None:
    found = shown(floor=[float(value) for value in range(100, 0, -1)])["floor"]

    assert (found.median, found.p5, found.p95, found.n) == (50.5, 6.0, 95.0, 100)


def test_what_failed_is_a_row_and_a_sentence_and_nobody_is_compared_with_it() -> None:
    found = shown({"ours": "failed: it hung up"}, floor=[1.0], peer=[2.0])

    assert (found["ours"].median, found["peer"].times_ours) == (None, None)
    for table in (text(list(found.values())), markdown(list(found.values()))):
        assert "a run: failed: it hung up" in table
        assert "a peer: " not in table


def test_every_row_is_in_the_text_the_markdown_and_the_document() -> None:
    found = list(shown(floor=[1.0], ours=[1234.5], peer=[2.0], fast=[3.0]).values())

    assert all(row.row.says in text(found) and f"| {row.row.says} |" in markdown(found) for row in found)
    assert "1,234 ms" in text(found)
    assert [(row["key"], row["median"]) for row in documents(found)] == [
        ("floor", 1.0),
        ("ours", 1234.5),
        ("peer", 2.0),
        ("fast", 3.0),
        ("slow", None),
    ]


def test_the_report_names_the_best_peer_and_leaves_the_rest_of_a_document_alone(tmp_path: Path) -> None:
    other = replace(PEER, key="other", says="another peer")
    rows = {COLD: [FLOOR, OURS, PEER, other]}
    found = figures(rows, {"floor": [1.0], "ours": [2.0], "peer": [5.0], "other": [4.0]}, {})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")

    write(page, report({"machine": "this one"}, found))

    words = page.read_text()
    assert words.startswith("before\n")
    assert words.endswith("after\n")
    assert "stale words" not in words
    assert "| a run | 2.00 ms | 1.00 ms, the floor | 4.00 ms, another peer |" in words
    assert "- machine: this one" in words


@dataclass
class Broken:
    """Starts or not, measures or not."""

    starts: bool
    calls: list[str] = field(default_factory=list)

    def measures(self) -> Sequence[Measure]:
        return [Measure(group=COLD, rows=[PEER], take=self.take)]

    def start(self) -> None:
        self.calls.append("start")
        if not self.starts:
            raise NotThere("it is not installed")

    def take(self) -> Took:
        self.calls.append("take")
        raise RuntimeError("it answered nonsense")

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.mark.parametrize(
    ("starts", "calls", "why"),
    [(False, ["start"], "it is not installed"), (True, ["start", "take"], "failed: it answered nonsense")],
)
def test_a_peer_that_fails_is_a_row_that_says_so_and_is_not_asked_again(
    starts: bool, calls: list[str], why: str
) -> None:
    session, thing = Session(QUICK), Broken(starts)

    session.start([thing])
    for number in range(3):
        session.round(number, session.measures([thing]))

    assert thing.calls == calls
    assert [figure.failed for figure in session.figures([thing])] == [why]


@dataclass
class Willing:
    """Three measures; remembers which of them were taken."""

    taken: list[str] = field(default_factory=list)

    def measures(self) -> Sequence[Measure]:
        return [
            Measure(group=COLD, rows=[FLOOR], take=lambda: self.take("floor")),
            Measure(group=COLD, rows=[OURS], take=lambda: self.take("ours"), every=3),
            Measure(group=MEMORY, rows=[PEER], take=lambda: self.take("peer")),
        ]

    def start(self) -> None: ...

    def take(self, key: str) -> Took:
        self.taken.append(key)
        return {key: [1.0]}

    def stop(self) -> None: ...


def test_what_takes_seconds_is_measured_less_often_and_memory_at_the_end() -> None:
    session, thing = Session(replace(QUICK, rounds=4)), Willing()

    for number in range(4):
        session.round(number, session.measures([thing]))

    assert thing.taken == ["floor", "ours", "floor", "floor", "floor", "ours", "peer"]


def test_only_what_was_asked_for_is_started_and_shown() -> None:
    session, thing = Session(QUICK, only=["queue"]), Broken(starts=True)

    session.start([thing])

    assert thing.calls == []
    assert session.figures([thing]) == []


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_the_client_knows_when_an_answer_is_whole(answer: bytes, whole: bool) -> None:
    assert is_whole(answer) is whole


def test_the_client_takes_no_wrong_answer_for_a_fast_one() -> None:
    assert checked(b"HTTP/1.1 202 Accepted\r\n\r\n{}", b"{}")
    for wrong in (b"HTTP/1.1 500 No\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n[]"):
        with pytest.raises(RuntimeError, match="a wrong answer"):
            checked(wrong, b"{}")


def test_memory_of_a_process_is_read_where_the_kernel_says_it() -> None:
    me = os.getpid()

    assert me in tree(os.getppid())
    assert pss_mb(me) > 1
    assert rss_mb(me) > 1
