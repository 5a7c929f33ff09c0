# SPDX-License-Identifier: Apache-2.0
"""The report: first what a user waits for, then every row; put into a document where it is wanted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.table import LESS_IS_BETTER, Figure, Kind, markdown, number

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def report(about: Mapping[str, str], given: Sequence[Figure]) -> str:
    """All of it as Markdown."""
    said = [f"- {name}: {words}" for name, words in about.items()]
    return "\n".join([*_summary(given), "", "### Every row", "", *said, markdown(given)])


def write(path: Path, words: str) -> None:
    """Write a file; of one that has the two marks only what is between them is replaced."""
    if path.exists() and BEGIN in (document := path.read_text()):
        before, _, rest = document.partition(BEGIN)
        words = f"{before}{BEGIN}\n{words}\n{END}{rest.partition(END)[2]}"
    path.write_text(words.rstrip() + "\n")


def _summary(given: Sequence[Figure]) -> list[str]:
    """What is ours, each with its floor and with the best peer that was measured beside it."""
    by_key = {figure.row.key: figure for figure in given}
    lines = ["| Longshore | median | its floor | the best peer |", "|---|--:|---|---|"]
    for figure in given:
        if figure.row.kind is Kind.OURS and figure.median is not None:
            floor = by_key.get(figure.row.floor or "")
            best = _best([one for one in given if one.row.ours == figure.row.key])
            cells = (figure.row.says, _value(figure), _with_name(floor), _with_name(best))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _best(peers: Sequence[Figure]) -> Figure | None:
    found = [(peer.median, peer) for peer in peers if peer.median is not None]
    if not found:
        return None
    best = min if found[0][1].row.unit in LESS_IS_BETTER else max
    return best(found, key=lambda one: one[0])[1]


def _value(figure: Figure) -> str:
    return "-" if figure.median is None else f"{number(figure.median)} {figure.row.unit}"


def _with_name(figure: Figure | None) -> str:
    return "" if figure is None else f"{_value(figure)}, {figure.row.says}"
