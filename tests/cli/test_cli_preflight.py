# SPDX-License-Identifier: Apache-2.0
"""`longshore package check`: errors, then warnings, and an exit code that tells them apart."""

import zipfile
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

HANDLER = "def handler(event, context): ...\n"
NUMPY = {
    "numpy/__init__.py": "",
    "numpy/core.cpython-37m-darwin.so": "",
    "numpy-1.2.dist-info/WHEEL": "Tag: cp37-cp37m-macosx_11_0_arm64\n",
    "numpy-1.2.dist-info/top_level.txt": "numpy\n",
}


def packed(path: Path, **files: str) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def test_errors_come_before_warnings_and_make_exit_1(cli: Cli, tmp_path: Path) -> None:
    app = "def handler(event, context):\n    import sometimes\n"
    file = packed(tmp_path / "p.zip", **{"app.py": f"import numpy\nimport nowhere\n{app}", **NUMPY})

    shown = cli("package", "check", file, "--handler", "app.handler", "--runtime", "python3.11")
    told = cli("package", "check", file, "--handler", "app.handler", "--runtime", "python3.11", "--json")

    assert (shown.code, told.code) == (1, 1)
    found = told.json()["findings"]
    assert [(one["level"], one["code"]) for one in found] == [
        *(("error", "import"), ("error", "wheel"), ("warning", "import"))
    ]
    assert [line.split(":")[0] for line in shown.err.splitlines()] == ["error", "error", "warning"]
    assert "built for CPython 3.7 on macOS aarch64" in shown.err
    assert [line.split() for line in shown.out.splitlines()[:3]] == [
        *(["package", "error"], ["errors", "2"], ["warnings", "1"])
    ]


def test_warnings_alone_are_exit_0(cli: Cli, tmp_path: Path) -> None:
    app = "def handler(event, context):\n    import sometimes\n"

    shown = cli("package", "check", packed(tmp_path / "p.zip", **{"app.py": app}), "--handler", "app.handler")

    assert shown.code == 0
    assert shown.err.startswith("warning: app.py, line 2, imports sometimes")


@pytest.mark.parametrize(("runtime", "code"), [("Python 3.7", 1), ("python3.11", 0)])
def test_the_runtime_says_which_standard_library_there_is(
    cli: Cli, tmp_path: Path, runtime: str, code: int
) -> None:
    file = packed(tmp_path / "p.zip", **{"app.py": f"import tomllib\n{HANDLER}"})

    assert cli("package", "check", file, "--handler", "app.handler", "--runtime", runtime).code == code
