# SPDX-License-Identifier: Apache-2.0
"""The Excel file: a sheet as Carrier's reports have it, and one with the numbers of JMeter's dashboard.

Everything foreign is written as text: a label that begins with `=` stays a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import xlsxwriter
from results.gates import Judgement, Limits, Verdict, exceeds
from results.statistics import Row, Statistics
from results.summary import Summary
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

MAX_TEXT = 32_767
"""The characters that a cell of Excel holds."""

CARRIER = (
    *("Transaction", "Req, count", "KO, count", "KO, %", "Min, sec", "Avg, sec", "90p, sec", "95p, sec"),
    "Max, sec",
)
BESIDE = ("Median, sec", "99p, sec", "Throughput, req/sec", "APDEX", "Verdict")
DASHBOARD = (
    *("Label", "#Samples", "KO", "Error %", "Average, ms", "Min, ms", "Max, ms", "Median, ms"),
    *("90th pct, ms", "95th pct, ms", "99th pct, ms", "Transactions/s", "Received KB/s", "Sent KB/s"),
)
TITLE_ROWS = 11
_LAST_OF_CARRIER = len(CARRIER) - 1
_TITLE = {"bg_color": "#CDEBEA", "border": 1, "border_color": "#040404", "valign": "vcenter"}
_CELL = {"border": 1, "border_color": "#040404"}
_GREEN, _YELLOW, _RED = "#AFF2C9", "#F7F7A9", "#F7A9A9"
_VERDICT_COLOURS = {Verdict.SUCCESS: "#2BBD4D", Verdict.FAILED: "#F90808", Verdict.NO_GATE: "#291A75"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What goes into the workbook. `origin` is shown where Carrier has the link to its report."""

    summary: Summary
    judgement: Judgement
    limits: Limits
    think_time: str
    zone: tzinfo
    zone_name: str
    origin: str

    @property
    def statistics(self) -> Statistics:
        """The numbers."""
        return self.summary.statistics


def write(report: Report, path: Path) -> None:
    """Write the workbook; what is at `path` is replaced."""
    with xlsxwriter.Workbook(
        path, {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    ) as book:
        book.set_properties({"title": "Test results", "comments": f"percentiles: {report.statistics.method}"})
        _TestResults(book, report).write()
        _Statistics(book, report).write()


@dataclass(slots=True)
class _TestResults:
    """`Test results`: title block A1:I11, header in row 12, a row for each transaction, Total last."""

    book: xlsxwriter.Workbook
    report: Report

    def write(self) -> None:
        sheet = self.book.add_worksheet("Test results")
        self._title(sheet)
        self._header(sheet)
        rows = [*self.report.statistics.transactions, self.report.statistics.total]
        for number, row in enumerate(rows, start=TITLE_ROWS + 1):
            name = "Total Transactions" if row is self.report.statistics.total else row.label
            self._row(sheet, number, name, row)
        last = TITLE_ROWS + len(rows)
        self._colours(sheet, last)
        _settle(sheet, TITLE_ROWS, [*CARRIER, *BESIDE], [row.label for row in rows], last - 1)

    def _title(self, sheet: Worksheet) -> None:
        bold = self.book.add_format({**_TITLE, "bold": True, "font_color": "#291A75"})
        for number, (name, value, form) in enumerate(self._titles()):
            sheet.write_string(number, 0, name, bold)
            style = self.book.add_format({**_TITLE, "align": "center", "text_wrap": True, **form})
            sheet.merge_range(number, 1, number, _LAST_OF_CARRIER, "", style)
            _put(sheet, number, 1, value, style)
        lines = 1 + len(self.report.judgement.justification) // 110
        sheet.set_row(TITLE_ROWS - 1, min(15 * lines, 300))

    def _titles(self) -> list[tuple[str, str | float | datetime | None, Mapping[str, object]]]:
        """Name, value and style of each row of the title block."""
        total, judgement, zone = self.report.statistics.total, self.report.judgement, self.report.zone_name
        ramp_up, date = self.report.summary.ramp_up_ms, {"num_format": "yyyy-mm-dd hh:mm:ss"}
        colour = _VERDICT_COLOURS[judgement.verdict]
        minutes = {"num_format": "0.00"}
        return [
            ("Users", self.report.summary.users or None, {}),
            ("Ramp Up, min", None if ramp_up is None else ramp_up / 60_000, minutes),
            ("Duration, min", (total.last_ms - total.first_ms) / 60_000, minutes),
            ("Think time, sec", self.report.think_time, {}),
            (f"Start Date, {zone}", self._moment(total.first_ms), date),
            (f"End Date, {zone}", self._moment(total.last_ms), date),
            ("Throughput, req/sec", total.throughput_per_s, {"num_format": "0.00"}),
            ("Error rate, %", total.errors / total.count, {"num_format": "0.00%"}),
            ("Carrier report", self.report.origin, {}),
            ("Build status", judgement.verdict.value, {"bold": True, "font_color": colour}),
            ("Justification", judgement.justification, {}),
        ]

    def _moment(self, at_ms: int) -> datetime:
        """The wall clock's time in the report's zone; Excel knows no zones."""
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self.report.zone).replace(tzinfo=None)

    def _header(self, sheet: Worksheet) -> None:
        style = self.book.add_format({**_CELL, "align": "center", "bg_color": "#7FD5D8"})
        for column, name in enumerate((*CARRIER, *BESIDE)):
            sheet.write_string(TITLE_ROWS, column, name, style)

    def _row(self, sheet: Worksheet, number: int, name: str, row: Row) -> None:
        plain, seconds = self._style(), self._style(num_format="0.000")
        rate = self._style(num_format="0.00")
        p = row.percentiles_ms
        values: list[tuple[str | float | None, Format]] = [
            (name, plain),
            (row.count, plain),
            (row.errors, plain),
            (row.errors / row.count, self._style(num_format="0.00%")),
            *((value / 1000, seconds) for value in (row.min_ms, row.mean_ms, p[90], p[95], row.max_ms)),
            (p[50] / 1000, seconds),
            (p[99] / 1000, seconds),
            (row.throughput_per_s, rate),
            (row.apdex, rate),
            (self._verdict(row), self._style(indent=1)),
        ]
        for column, (value, style) in enumerate(values):
            _put(sheet, number, column, value, style)

    def _style(self, **more: object) -> Format:
        return self.book.add_format({**_CELL, **more})

    def _verdict(self, row: Row) -> str:
        """In words and a sign, for those who do not see the colours."""
        if row is self.report.statistics.total:
            return self.report.judgement.verdict.value
        if self.report.limits.response_time_s is None:
            return ""
        return "▲ too slow" if exceeds(row, self.report.limits) else "▼ in time"

    def _colours(self, sheet: Worksheet, last: int) -> None:
        first = TITLE_ROWS + 1
        good, fair, bad = (self.book.add_format({"bg_color": colour}) for colour in (_GREEN, _YELLOW, _RED))
        limits = self.report.limits
        if (limit := limits.response_time_s) is not None:
            for column in ("E", "F", "G", "H", "I", "J", "K"):
                where = f"{column}{first + 1}:{column}{last + 1}"
                _rule(sheet, where, good, "<", limit)
                _rule(sheet, where, bad, ">", limit * 1.5)
                between = {"criteria": "between", "minimum": limit, "maximum": limit * 1.5, "format": fair}
                sheet.conditional_format(where, {"type": "cell", **between})
        if (limit := limits.error_pct) is not None:
            where = f"D{first + 1}:D{last + 1}"
            _rule(sheet, where, bad, ">", limit / 100)
        if (limit := limits.throughput_per_s) is not None:
            _rule(sheet, f"L{last + 1}", good, ">=", limit)
            _rule(sheet, f"L{last + 1}", bad, "<", limit)


@dataclass(slots=True)
class _Statistics:
    """`Statistics`: JMeter's own columns and units, Total first."""

    book: xlsxwriter.Workbook
    report: Report

    def write(self) -> None:
        sheet = self.book.add_worksheet("Statistics")
        head = self.book.add_format({**_CELL, "bold": True, "bg_color": "#7FD5D8", "align": "center"})
        whole, number = (self.book.add_format({**_CELL, "num_format": form}) for form in ("0", "0.00"))
        for column, name in enumerate(DASHBOARD):
            sheet.write_string(0, column, name, head)
        rows = [self.report.statistics.total, *self.report.statistics.transactions]
        for line, row in enumerate(rows, start=1):
            for column, value in enumerate(_dashboard(row)):
                _put(sheet, line, column, value, whole if isinstance(value, int) else number)
        _settle(sheet, 0, DASHBOARD, [row.label for row in rows], len(rows))


def _dashboard(row: Row) -> list[str | int | float | None]:
    p = row.percentiles_ms
    return [
        *(row.label, row.count, row.errors, row.error_pct, row.mean_ms, row.min_ms, row.max_ms),
        *(p[50], p[90], p[95], p[99], row.throughput_per_s, row.received_kb_per_s, row.sent_kb_per_s),
    ]


def _put(
    sheet: Worksheet, row: int, column: int, value: str | float | datetime | None, style: Format
) -> None:
    """A value as what it is: text never becomes a formula, a link or a number."""
    if value is None:
        sheet.write_string(row, column, "n/a", style)
    elif isinstance(value, str):
        sheet.write_string(row, column, value[:MAX_TEXT], style)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, column, value, style)
    else:
        sheet.write_number(row, column, value, style)


def _rule(sheet: Worksheet, where: str, style: Format, criteria: str, value: float) -> None:
    sheet.conditional_format(where, {"type": "cell", "criteria": criteria, "value": value, "format": style})


def _settle(sheet: Worksheet, header: int, names: Sequence[str], labels: Sequence[str], last: int) -> None:
    """Widths, frozen header and first column, filter over the transactions, and how it prints."""
    longest = max(len(label) for label in (*labels, "Throughput, req/sec"))
    sheet.set_column(0, 0, min(longest + 5, 80))
    for column, name in enumerate(names[1:], start=1):
        sheet.set_column(column, column, max(len(name) + 5, 10))
    sheet.freeze_panes(header + 1, 1)
    sheet.autofilter(header, 0, last, len(names) - 1)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(header)
