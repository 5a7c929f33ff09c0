# SPDX-License-Identifier: Apache-2.0
"""jtl_to_excel: a JMeter result file becomes an Excel report, judged against thresholds.

    event ─▶ options ─▶ files ─▶ numbers ─▶ verdict ─▶ workbook in $OUTPUT_DIR, and the result

A failed gate is a verdict and not a crash; what cannot be read or understood is an error with a sentence.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from event import NOT_YET, BadParameter, Options, Value, options
from results.errors import BadResults
from results.gates import Judgement, Verdict, judged
from results.sources import located, sources
from results.summary import Summary, summarize
from workbook import Report, write

INPUT_DIR = Path("/var/input")
MAX_LISTED = 1000
"""Transactions in the result; the workbook has them all."""

UNPROCESSABLE = 422


def lambda_handler(event: Value, _context: object) -> dict[str, Value]:
    """The task. Raises BadParameter or BadResults."""
    wanted = options(event, os.environ)
    _say_ignored(wanted)
    summary = summarize(sources(_paths(wanted)), wanted.wanted)
    judgement = judged(summary.statistics, wanted.limits)
    _say_numbers(summary, judgement)
    path = _output() / f"{_stem(summary)}_excel_report.xlsx"
    write(_report(summary, judgement, wanted), path)
    print(f"Generated Excel report: {path.name} ({path.stat().st_size / 1024:.0f} KB)")
    return _result(summary, judgement, wanted, path)


def _paths(wanted: Options) -> list[Path]:
    """The files that are meant: as given, as laid there from a bucket, or below the package."""
    if not wanted.files:
        raise BadParameter(
            "file_name is missing; give the JTL: an artifact (BUCKET/KEY), or a path in the package"
        )
    package = Path(os.environ.get("LAMBDA_TASK_ROOT") or Path(__file__).parent)
    roots = [INPUT_DIR / wanted.bucket] if wanted.bucket else []
    try:
        return located(wanted.files, [*roots, package])
    except BadResults as error:
        raise BadResults(
            f"{error}. An object of a bucket is laid into the sandbox when file_name is declared with the"
            " type artifact and given as BUCKET/KEY"
        ) from None


def _output() -> Path:
    """Where files are kept with the run; elsewhere than on Longshore a temporary directory."""
    place = Path(os.environ.get("OUTPUT_DIR") or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    return place


def _stem(summary: Summary) -> str:
    """The first file's name without endings, as a name that every system takes."""
    name = summary.files[0].name.partition("/")[0]
    bare = re.sub(r"(\.(jtl|csv|xml|gz|zip))+$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "_", bare).strip("._")[:100] or "results"


def _report(summary: Summary, judgement: Judgement, wanted: Options) -> Report:
    names = ", ".join(file.name for file in summary.files)
    return Report(
        summary=summary,
        judgement=judgement,
        limits=wanted.limits,
        think_time=wanted.think_time,
        zone=wanted.zone,
        zone_name=wanted.zone_name,
        origin=f"none; made from {names}",
    )


def _result(summary: Summary, judgement: Judgement, wanted: Options, path: Path) -> dict[str, Value]:
    failed = judgement.verdict is Verdict.FAILED
    rows = summary.statistics.transactions
    return {
        "statusCode": UNPROCESSABLE if failed and wanted.fail_on_gate else 200,
        "body": f"{judgement.verdict}: {judgement.justification}",
        "verdict": judgement.verdict.value,
        "summary": {
            **summary.statistics.total.jmeter(),
            "users": summary.users,
            "start": _moment(summary.statistics.total.first_ms),
            "end": _moment(summary.statistics.total.last_ms),
            "apdex": summary.statistics.total.apdex,
            "percentile_method": summary.statistics.method.value,
            "files": [{"name": file.name, "samples": file.samples} for file in summary.files],
            "gates": _gates(judgement),
            "findings": [str(finding) for finding in summary.findings],
        },
        "transactions": [row.jmeter() for row in rows[:MAX_LISTED]],
        "transactions_left_off": max(len(rows) - MAX_LISTED, 0),
        "artifacts": [path.name],
        "email": "skipped: this version sends none" if wanted.recipients else "skipped",
    }


def _gates(judgement: Judgement) -> list[Mapping[str, Value]]:
    return [
        {
            "gate": gate.name,
            "rule": gate.rule,
            "limit": gate.limit,
            "measured": gate.measured,
            "unit": gate.unit,
            "passed": gate.passed,
            "reasons": list(gate.reasons[:MAX_LISTED]),
        }
        for gate in judgement.gates
    ]


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _say_ignored(wanted: Options) -> None:
    later = [name for name in wanted.ignored if name in NOT_YET]
    unknown = [name for name in wanted.ignored if name not in NOT_YET]
    if later:
        print(f"Not used yet: {', '.join(later)}")
    if unknown:
        print(f"Not parameters of this task: {', '.join(unknown)}")


def _say_numbers(summary: Summary, judgement: Judgement) -> None:
    total = summary.statistics.total
    for file in summary.files:
        print(f"Read {file.samples} samples from {file.name}")
    for finding in summary.findings:
        print(f"Note: {finding}")
    print(
        f"{total.count} requests, {total.errors} errors, {len(summary.statistics.transactions)} transactions,"
        f" percentiles by method {summary.statistics.method}"
    )
    print(f"Verdict: {judgement.verdict}: {judgement.justification}")
