# SPDX-License-Identifier: Apache-2.0
"""Many mixed runs leave nothing behind: bench/soak.py, small in the gate, whole for who has the time."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("runs", "legs"),
    [
        (150, 2),
        pytest.param(20_000, 10, marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
    ],
)
def test_mixed_runs_have_true_ends_and_leave_nothing(runs: int, legs: int) -> None:
    command = [sys.executable, "-m", "bench.soak", "--runs", str(runs), "--legs", str(legs)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: clean" in done.stdout
