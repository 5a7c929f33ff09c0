# SPDX-License-Identifier: Apache-2.0
"""Ten million rows are read in one pass, in memory that does not depend on their number."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.results.jtl_files import HEADER

MEASURE = """
import sys
from pathlib import Path
from longshore.results.sources import sources
from longshore.results.summary import Wanted, summarize

total = summarize(sources([Path(sys.argv[1])]), Wanted()).statistics.total
# Not ru_maxrss: that of a child begins with what its parent held when it was forked.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(total.count, int(status["VmHWM"].split()[0]) // 1024)
"""


def write_rows(path: Path, rows: int) -> None:
    """A test of 40 labels and 200 threads, response times all over the place."""
    with path.open("w") as file:
        file.write(f"{HEADER}\n")
        for start in range(0, rows, 10_000):
            file.writelines(
                f"{1_700_000_000_000 + n},{n * 7919 % 9973},label {n % 40},200,OK,T 1-{n % 200},text,true,,"
                f"{n % 4096},512,200,200,https://example.org/,5,0,0\n"
                for n in range(start, start + 10_000)
            )


def measured(path: Path) -> tuple[int, int]:
    """Rows and the most memory in MB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], stdout=subprocess.PIPE, check=True, text=True
    )
    rows, most = done.stdout.split()
    return int(rows), int(most)


def test_a_hundred_thousand_rows_need_little_memory(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.jtl", 100_000)

    rows, most = measured(tmp_path / "x.jtl")

    assert rows == 100_000
    assert most < 200


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_ten_million_rows_need_less_than_500_mb(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.jtl", 10_000_000)

    rows, most = measured(tmp_path / "x.jtl")

    assert rows == 10_000_000
    assert most < 500
