# SPDX-License-Identifier: Apache-2.0
"""The table: each row with what it measures, how noisy it was, how far it is from its floor and from ours."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

LESS_IS_BETTER = frozenset({"ms", "MB"})
HEADS = ("", "", "median", "p5", "p95", "n", "x floor", "x ours")


class Kind(StrEnum):
    """Whose figure it is."""

    FLOOR = "floor"
    OURS = "Longshore"
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that is measured. `floor` and `ours` are the keys of the rows it is compared with."""

    key: str
    kind: Kind
    says: str
    unit: str
    floor: str | None = None
    ours: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What came of a row; `failed` says why there is nothing."""

    group: str
    row: Row
    median: float | None = None
    p5: float | None = None
    p95: float | None = None
    n: int = 0
    times_floor: float | None = None
    times_ours: float | None = None
    failed: str | None = None


def figures(
    groups: Mapping[str, Sequence[Row]], took: Mapping[str, Sequence[float]], failed: Mapping[str, str]
) -> list[Figure]:
    """The rows in order, each with its medians and ratios. A row that has values and a failure keeps both."""
    medians = {key: statistics.median(values) for key, values in took.items() if values}
    return [
        _figure(group, row, sorted(took.get(row.key, ())), medians, failed.get(row.key))
        for group, rows in groups.items()
        for row in rows
    ]


def _figure(
    group: str, row: Row, values: Sequence[float], medians: Mapping[str, float], failed: str | None
) -> Figure:
    if not values:
        return Figure(group=group, row=row, failed=failed or "not measured")
    return Figure(
        group=group,
        row=row,
        median=medians[row.key],
        p5=values[len(values) // 20],
        p95=values[-1 - len(values) // 20],
        n=len(values),
        times_floor=times(row, medians, row.floor),
        times_ours=times(row, medians, row.ours),
        failed=failed,
    )


def times(row: Row, medians: Mapping[str, float], other: str | None) -> float | None:
    """How many times worse than the other row: slower, larger, or fewer a second. Below 1 it is better."""
    if other is None or other not in medians or not medians[row.key] or not medians[other]:
        return None
    ratio = medians[row.key] / medians[other]
    return ratio if row.unit in LESS_IS_BETTER else 1 / ratio


def text(given: Sequence[Figure]) -> str:
    """For a terminal."""
    lines: list[str] = []
    for group, cells in _by_group(given):
        widths = [max(len(row[column]) for row in cells) for column in range(len(HEADS))]
        lines += ["", group]
        for row in cells:
            left = f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}"
            right = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
            lines.append(f"{left}  {right}".rstrip())
        lines += [f"  {note}" for note in _notes(given, group)]
    return "\n".join(lines)


def markdown(given: Sequence[Figure]) -> str:
    """For docs/reference/performance.md."""
    lines: list[str] = []
    for group, (heads, *cells) in _by_group(given):
        lines += ["", f"| {group} | | {' | '.join(heads[2:])} |", "|---|---|" + "--:|" * (len(heads) - 2)]
        lines += [f"| {' | '.join(row)} |" for row in cells]
        lines += [f"\n{note}" for note in _notes(given, group)]
    return "\n".join(lines)


def documents(given: Sequence[Figure]) -> list[dict[str, object]]:
    """For programs."""
    return [{**asdict(figure.row), **asdict(figure)} for figure in given]


def _by_group(given: Sequence[Figure]) -> Iterator[tuple[str, list[Sequence[str]]]]:
    for group in dict.fromkeys(figure.group for figure in given):
        yield group, [HEADS, *(_cells(figure) for figure in given if figure.group == group)]


def _notes(given: Sequence[Figure], group: str) -> Iterator[str]:
    """Why rows are empty, each reason once."""
    failed = [figure for figure in given if figure.group == group and figure.failed is not None]
    for why in dict.fromkeys(figure.failed for figure in failed):
        yield f"{'; '.join(figure.row.says for figure in failed if figure.failed == why)}: {why}"


def _cells(figure: Figure) -> Sequence[str]:
    row = figure.row
    if figure.median is None or figure.p5 is None or figure.p95 is None:
        return (row.kind, row.says, "-", "", "", "", "", "")
    return (
        row.kind,
        row.says,
        f"{number(figure.median)} {row.unit}",
        number(figure.p5),
        number(figure.p95),
        str(figure.n),
        "" if figure.times_floor is None else number(figure.times_floor),
        "" if figure.times_ours is None else number(figure.times_ours),
    )


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
