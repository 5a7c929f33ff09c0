# SPDX-License-Identifier: Apache-2.0
"""What this machine has to give."""

import os


def machine_cores() -> float:
    """CPU cores to offer by default: those of the machine, at least two, so that a load test and its
    post-processing fit side by side even on the smallest one."""
    return float(max(2, os.cpu_count() or 1))


def machine_memory_mb() -> int:
    """Memory to offer by default: nine tenths of the machine's, in MB."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(pages * 0.9) // 2**20
