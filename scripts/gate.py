# SPDX-License-Identifier: Apache-2.0
"""The gate that `./test` runs: lint, format, types, import contracts, tests."""

import sys
import tempfile
import time
from pathlib import Path

from setup import ROOT, make_venv, must, say, system_packages

SYSTEM = {"bwrap": "bubblewrap", "pasta": "passt", "chromium": "chromium"}


def main(arguments: list[str]) -> None:
    """Every check in order; the first that fails ends the gate with its exit code."""
    full = "--full" in arguments
    rest = [word for word in arguments if word != "--full"]
    began = time.monotonic()
    system_packages({**SYSTEM, **({"soffice": "libreoffice-calc-nogui"} if full else {})})
    python = make_venv(extras="dev")
    bin_ = python.parent
    checks: list[tuple[str, list[str | Path]]] = [
        ("lint", [bin_ / "ruff", "check", "."]),
        ("format", [bin_ / "ruff", "format", "--check", "."]),
        ("types", [bin_ / "mypy"]),
        ("types of tests and scripts", [bin_ / "mypy", "tests", "bench", "scripts"]),
        ("import contracts", [bin_ / "lint-imports"]),
    ]
    for title, command in checks:
        say(f"== {title}")
        must(command, cwd=ROOT)
    say("== the wheel builds")
    with tempfile.TemporaryDirectory() as place:
        must([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", place, ROOT])
    say("== tests")
    must([python, "-m", "pytest", *([] if full else ["-m", "not full"]), *rest], cwd=ROOT)
    say(f"The gate is green after {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main(sys.argv[1:])
