# SPDX-License-Identifier: Apache-2.0
"""The token that lets the handler of a run call the platform.

It is made of the fence of the run's lease and kept nowhere: whoever knows the run knows whether it is right,
and it ends with the attempt because the fence does. A fence cannot be told from it.
"""

import hashlib
import hmac

from longshore.domain.ids import RunId
from longshore.domain.run import Run, RunState
from longshore.domain.secret import Plaintext

PREFIX = "lsh_run_"
UNDER_WAY = frozenset({RunState.STARTING, RunState.RUNNING})
_MEANING = b"longshore: the token of a run"


def run_token(run: RunId, fence: str) -> Plaintext:
    """The token of the attempt that has this fence."""
    proof = hmac.new(fence.encode(), _MEANING + b"\0" + run.encode(), hashlib.sha256).hexdigest()
    return Plaintext(f"{PREFIX}{run}_{proof}")


def run_of(token: str) -> RunId | None:
    """The run that a token says it is of; None for one of another kind."""
    if not token.startswith(PREFIX):
        return None
    return RunId(token.removeprefix(PREFIX).rpartition("_")[0])


def opens(token: str, run: Run) -> bool:
    """Whether it is the token of a run that is under way."""
    if run.state not in UNDER_WAY or run.fence is None:
        return False
    right = run_token(run.id, run.fence).reveal()
    return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), right.encode())
