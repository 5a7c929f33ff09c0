# SPDX-License-Identifier: Apache-2.0
"""The example task `jtl_to_excel`, run in this process as a runtime would, and looked at with openpyxl."""

import importlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from longshore.adapters.archives.check import check
from longshore.cli.build import build
from longshore.domain.parameters import Parameter, ParameterType, bind

EXAMPLE = Path(__file__).parents[2] / "examples" / "jtl_to_excel"
JTL = Path(__file__).parents[1] / "data" / "jtl"
UTEC, LOADQA = JTL / "oracle" / "utec.jtl", JTL / "oracle" / "loadqa.jtl"

Handler = Callable[[object, object], dict[str, Any]]


def of_the_package() -> dict[str, ModuleType]:
    """The modules that have the names of the example's own."""
    tops = {path.stem for path in EXAMPLE.iterdir()}
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Handler]:
    """The handler with its package first on the path; modules of the same names are back afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.delenv("LAMBDA_TASK_ROOT", raising=False)
    others = of_the_package()
    for name in others:
        del sys.modules[name]
    yield importlib.import_module("lambda_function").lambda_handler
    for name in of_the_package():
        del sys.modules[name]
    sys.modules.update(others)


def sheet(result: dict[str, Any], tmp_path: Path, name: str) -> Worksheet:
    (file,) = result["artifacts"]
    found = openpyxl.load_workbook(tmp_path / "out" / file)[name]
    assert isinstance(found, Worksheet)
    return found


def table(of: Worksheet, header: int) -> list[dict[str, Any]]:
    names = [str(cell.value) for cell in of[header]]
    return [dict(zip(names, row, strict=True)) for row in of.iter_rows(min_row=header + 1, values_only=True)]


CARRIER_TITLES = [
    *("Users", "Ramp Up, min", "Duration, min", "Think time, sec", "Start Date, UTC", "End Date, UTC"),
    *("Throughput, req/sec", "Error rate, %", "Carrier report", "Build status", "Justification"),
]
CARRIER_HEADER = [
    *("Transaction", "Req, count", "KO, count", "KO, %", "Min, sec", "Avg, sec", "90p, sec", "95p, sec"),
    "Max, sec",
]
OF_JMETER = {
    "Label": "transaction",
    "#Samples": "sampleCount",
    "KO": "errorCount",
    "Error %": "errorPct",
    "Average, ms": "meanResTime",
    "Min, ms": "minResTime",
    "Max, ms": "maxResTime",
    "Median, ms": "medianResTime",
    "90th pct, ms": "pct1ResTime",
    "95th pct, ms": "pct2ResTime",
    "99th pct, ms": "pct3ResTime",
    "Transactions/s": "throughput",
    "Received KB/s": "receivedKBytesPerSec",
    "Sent KB/s": "sentKBytesPerSec",
}


@pytest.mark.parametrize("path", [UTEC, LOADQA])
def test_every_cell_of_the_sheet_statistics_is_jmeters_number(
    handler: Handler, path: Path, tmp_path: Path
) -> None:
    dashboard = json.loads(path.with_suffix(".statistics.json").read_text())

    result = handler({"file_name": str(path), "percentile_method": "jmeter"}, None)

    rows = table(sheet(result, tmp_path, "Statistics"), 1)
    assert rows[0]["Label"] == "Total"
    assert {row["Label"] for row in rows} == set(dashboard)
    for row in rows:
        theirs = dashboard[row.pop("Label")]
        assert row == pytest.approx({ours: theirs[OF_JMETER[ours]] for ours in row}, rel=1e-6)


@pytest.mark.parametrize("path", [UTEC, LOADQA])
def test_the_sheet_test_results_is_carriers_with_true_numbers(
    handler: Handler, path: Path, tmp_path: Path
) -> None:
    dashboard = json.loads(path.with_suffix(".statistics.json").read_text())

    result = handler({"file_name": str(path), "percentile_method": "jmeter"}, None)

    of = sheet(result, tmp_path, "Test results")
    assert [of.cell(row, 1).value for row in range(1, 12)] == CARRIER_TITLES
    assert [of.cell(12, column).value for column in range(1, 10)] == CARRIER_HEADER
    assert {f"B{row}:I{row}" for row in range(1, 12)} == {str(one) for one in of.merged_cells.ranges}
    *rows, total = table(of, 12)
    assert total.pop("Transaction") == "Total Transactions"
    for row, theirs in [(row, dashboard[row.pop("Transaction")]) for row in rows] + [
        (total, dashboard["Total"])
    ]:
        assert row["Req, count"] == theirs["sampleCount"]
        assert row["KO, %"] == pytest.approx(theirs["errorPct"] / 100, rel=1e-6)
        for column, key in (
            ("Min", "min"),
            ("Avg", "mean"),
            ("90p", "pct1"),
            ("95p", "pct2"),
            ("Max", "max"),
        ):
            assert row[f"{column}, sec"] == pytest.approx(theirs[f"{key}ResTime"] / 1000, rel=1e-6)
    assert of["B7"].value == pytest.approx(dashboard["Total"]["throughput"])
    assert of["B8"].value == pytest.approx(dashboard["Total"]["errorPct"] / 100, rel=1e-6)


def test_the_workbook_is_pleasant_to_read(handler: Handler, tmp_path: Path) -> None:
    result = handler({"file_name": str(UTEC), "timezone": "+02:00"}, None)

    of = sheet(result, tmp_path, "Test results")
    assert of.freeze_panes == "B13"
    assert of.auto_filter.ref == "A12:N16"
    assert (of["A5"].value, of["B5"].value) == (
        "Start Date, +02:00",
        datetime(2025, 10, 19, 11, 37, 17, 578000),
    )
    assert (of["B1"].value, of["B8"].number_format, of["E13"].number_format) == (50, "0.00%", "0.000")
    assert of.print_title_rows == "$12:$12"
    assert of.column_dimensions["A"].width > len("GET - Información básica")
    ranges = {str(one.sqref) for one in of.conditional_formatting}
    assert {"E13:E17", "I13:I17", "D13:D17", "L17"} <= ranges
    assert of["A1"].fill.fgColor.rgb == "FFCDEBEA"
    assert of["N13"].value == "▲ too slow"


def test_a_label_is_never_a_formula_or_a_link(handler: Handler, tmp_path: Path) -> None:
    labels = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2",
        "@SUM(A1)",
        "https://example.org",
        "007",
        "{=A1}",
        "x" * 40_000,
    ]
    rows = [f"1700000000000,10,{label},true" for label in labels]
    path = tmp_path / "labels.jtl"
    path.write_text("\n".join(["timeStamp,elapsed,label,success", *rows, ""]))

    result = handler({"file_name": str(path)}, None)

    for name, header in (("Test results", 12), ("Statistics", 1)):
        of = sheet(result, tmp_path, name)
        cells = [of.cell(row, 1) for row in range(header + 1, of.max_row + 1)]
        assert {cell.data_type for cell in cells} == {"s"}
        assert all(cell.hyperlink is None for cell in cells)
        assert {label[:32_767] for label in labels} <= {cell.value for cell in cells}


def test_the_result_is_json_with_verdict_numbers_and_reasons(handler: Handler) -> None:
    result = handler({"file_name": str(UTEC)}, None)

    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["statusCode"], result["verdict"], result["email"]) == (200, "FAILED", "skipped")
    assert result["artifacts"] == ["utec_excel_report.xlsx"]
    assert result["summary"]["sampleCount"] == 530
    assert len(result["transactions"]) == 4
    slow, *others = result["summary"]["gates"]
    assert slow["reasons"][0] == "p95 of 'GET - Delay 1s' is 4.3743 s, above the limit of 1 s"
    assert [gate["passed"] for gate in others] == [True, True]
    assert result["body"].startswith("FAILED: p95 of")


def test_a_failed_gate_fails_the_run_only_when_asked(handler: Handler) -> None:
    event = {"file_name": str(UTEC), "fail_on_gate": "true"}

    assert handler(event, None)["statusCode"] == 422
    assert handler({**event, "rt_threshold": "8"}, None)["verdict"] == "SUCCESS"
    assert handler({**event, "rt_threshold": "8"}, None)["statusCode"] == 200


def test_empty_thresholds_are_no_gates(handler: Handler) -> None:
    event = {"file_name": str(UTEC), "rt_threshold": "", "tp_threshold": None, "er_threshold": " "}

    assert handler(event, None)["verdict"] == "NO_GATE"


def test_the_log_says_what_was_done_and_what_was_not(
    handler: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {"file_name": str(UTEC), "smtp_password": "hunter2", "token": "", "colour": "red"}

    result = handler({**event, "smtp_email_recipients": "a@example.org"}, None)

    log = capsys.readouterr().out
    assert "Generated Excel report" in log
    assert "Read 530 samples from utec.jtl" in log
    assert "Not used yet: smtp_email_recipients, smtp_password\n" in log
    assert "Not parameters of this task: colour\n" in log
    assert "hunter2" not in log + json.dumps(result)
    assert result["email"] == "skipped: this version sends none"


@pytest.mark.parametrize(
    "event",
    [
        {"file_name": f"  {UTEC} ", " pct ": " p90 ", "rt_threshold": " 2500 ms ", "er_threshold": "2 %"},
        [{"file_name": [str(UTEC)], "pct": 90, "rt_threshold": 2.5, "er_threshold": "2,0"}],
        [
            {"name": "file_name", "default": str(UTEC)},
            {"name": "pct", "default": "90%"},
            {"name": "rt_threshold", "default": "2.5s"},
        ],
        {"file_name": json.dumps([str(UTEC)]), "pct": "90Pct", "rt_threshold": "2,5 sec"},
        {"file_name": str(UTEC), "pct": "pct90", "rt_threshold": "2.5", "tp_threshold": "10 req/s"},
    ],
)
def test_values_are_understood_as_people_write_them(handler: Handler, event: object) -> None:
    gates = handler(event, None)["summary"]["gates"]

    assert [gate["rule"] for gate in gates] == [
        "p90 of every transaction <= 2.5 s",
        "throughput >= 10 req/s",
        "error rate <= 2 %",
    ]


@pytest.mark.parametrize("quote", [json.dumps, repr])
def test_carriers_environment_gives_what_the_event_leaves_out(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, quote: Callable[[object], str]
) -> None:
    rows = [{"name": "file_name", "default": "none.jtl"}, {"name": "tp_threshold", "default": "99"}]
    monkeypatch.setenv("task_parameters", quote(rows))

    gates = handler({"file_name": str(UTEC)}, None)["summary"]["gates"]

    assert gates[1]["rule"] == "throughput >= 99 req/s"


def test_files_are_found_in_the_package_and_by_pattern(handler: Handler, tmp_path: Path) -> None:
    packaged = handler({"file_name": "samples/sample.jtl"}, None)
    several = handler({"file_name": str(JTL / "oracle" / "*.jtl")}, None)

    assert packaged["summary"]["sampleCount"] == 530
    assert [file["name"] for file in several["summary"]["files"]] == ["loadqa.jtl", "utec.jtl"]
    assert several["summary"]["sampleCount"] == 558


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "file_name is missing"),
        (
            {"file_name": "no.jtl", "bucket": "results"},
            "there is no file no.jtl; looked there and in /var/input/results",
        ),
        (
            {"file_name": str(JTL / "edge" / "emptyfile.jtl")},
            "emptyfile.jtl is empty: JMeter wrote nothing into it",
        ),
        (
            {"file_name": str(UTEC), "rt_threshold": "fast"},
            "rt_threshold is 'fast'; it takes seconds (0.8) or",
        ),
        (
            {"file_name": str(UTEC), "tp_threshold": "1,000"},
            "tp_threshold is '1,000'; it takes a number of req/s",
        ),
        (
            {"file_name": str(UTEC), "er_threshold": -1},
            "er_threshold is '-1'; it takes a number of %, 0 or more",
        ),
        ({"file_name": str(UTEC), "er_threshold": "nan"}, "er_threshold is 'nan'"),
        ({"file_name": str(UTEC), "pct": "42"}, "pct is '42'; it takes 50, 75, 90, 95 or 99"),
        ({"file_name": str(UTEC), "percentile_method": "best"}, "it takes one of exact, jmeter, linear"),
        ({"file_name": str(UTEC), "label_include": "("}, "which is no regular expression"),
        ({"file_name": str(UTEC), "timezone": "Mars/Base"}, "timezone 'Mars/Base' is not known here"),
        ({"file_name": str(UTEC), "fail_on_gate": "perhaps"}, "it takes true or false"),
        ("results.jtl", "the event is not an object"),
        ({"file_name": str(UTEC), "label_include": "nothing like it"}, "there is no sample that counts"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(handler: Handler, event: object, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        handler(event, None)

    assert words in str(refused.value)


def test_its_parameters_are_declared_as_the_platform_takes_them(handler: Handler) -> None:
    declared = json.loads((EXAMPLE / "parameters.json").read_text())
    parameters = [
        Parameter(**{**one, "type": ParameterType(one["type"]), "choices": tuple(one["choices"])}).checked()
        for one in declared
    ]

    event = bind(parameters, {"file_name": "results/utec.jtl", "rt_threshold": " 8 "}).event
    result = handler({**event, "file_name": str(UTEC)}, None)

    assert set(declared[0]) == {"name", "type", "unit", "required", "default", "choices", "description"}
    assert result["verdict"] == "SUCCESS"


def test_its_readme_names_every_parameter() -> None:
    readme = (EXAMPLE / "README.md").read_text()

    for one in json.loads((EXAMPLE / "parameters.json").read_text()):
        assert f"| `{one['name']}` |" in readme


def test_its_package_is_small_and_complete(tmp_path: Path) -> None:
    """Needs the package index: a failure here that names uv is that it could not be reached."""
    built = build(EXAMPLE, tmp_path / "jtl_to_excel.zip", python=None)

    assert built.size < 10 * 1024 * 1024
    with zipfile.ZipFile(built.path) as archive:
        members = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
    for name in (
        "lambda_function.py",
        "event.py",
        "results/jtl.py",
        "xlsxwriter/__init__.py",
        "samples/sample.jtl",
    ):
        assert members[name] == 0o100644, name
    assert check(built.path, handler="lambda_function.lambda_handler").findings == ()


@pytest.mark.full
def test_libreoffice_opens_the_workbook(handler: Handler, tmp_path: Path) -> None:
    (file,) = handler({"file_name": str(LOADQA)}, None)["artifacts"]
    command = [
        "soffice",
        "--headless",
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--convert-to",
        "csv",
    ]

    subprocess.run(
        [*command, "--outdir", str(tmp_path), str(tmp_path / "out" / file)], check=True, timeout=150
    )

    first_sheet = (tmp_path / file).with_suffix(".csv").read_text(errors="replace")
    assert first_sheet.startswith("Users,1,")
    assert "Total Transactions,28,0,0%,0.002,0.0870357142857" in first_sheet
