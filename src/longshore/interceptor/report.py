# SPDX-License-Identifier: Apache-2.0
"""The platform's own lines of a run's log, as Lambda writes them."""

import math

from longshore.domain.logs import Level
from longshore.domain.order import Invocation
from longshore.domain.run import RunState, Usage
from longshore.interceptor.tail import Tail
from longshore.interceptor.verdict import Verdict


def began(tail: Tail, invocation: Invocation) -> None:
    """START."""
    tail.platform(f"START RequestId: {invocation.run} Version: $LATEST")


def used(tail: Tail, invocation: Invocation, usage: Usage, verdict: Verdict) -> None:
    """END and REPORT, for what has had a START."""
    wall = usage.wall_ms or 0.0
    tail.platform(f"END RequestId: {invocation.run}")
    parts = [
        f"REPORT RequestId: {invocation.run}",
        f"Duration: {wall:.2f} ms",
        f"Billed Duration: {math.ceil(wall)} ms",
        f"Memory Size: {invocation.limits.memory_mb} MB",
        f"Max Memory Used: {math.ceil(usage.peak_memory_mb or 0)} MB",
    ]
    parts += [f"Init Duration: {usage.init_ms:.2f} ms"] if usage.init_ms is not None else []
    parts += ["Status: timeout"] if verdict.state is RunState.TIMED_OUT else []
    tail.platform("\t".join(parts) + "\t")


def why(tail: Tail, verdict: Verdict) -> None:
    """Why a run did not succeed."""
    if verdict.state is not RunState.SUCCEEDED:
        level = Level.WARNING if verdict.state is RunState.CANCELLED else Level.ERROR
        tail.platform(f"{verdict.state.value.upper()} {verdict.reason or ''}".rstrip(), level)
