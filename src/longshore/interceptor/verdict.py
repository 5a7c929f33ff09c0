# SPDX-License-Identifier: Apache-2.0
"""From what a runtime said, or how it fell silent, to a run's state and the sentence that explains it."""

import json
from dataclasses import dataclass

from longshore.domain.masking import Masks
from longshore.domain.order import Invocation
from longshore.domain.run import RunError, RunState
from longshore.domain.task import SuccessRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a run ended. `payload` and every text are masked."""

    state: RunState
    reason: str | None = None
    payload: str | None = None
    error: RunError | None = None


def returned(invocation: Invocation, payload: bytes, masks: Masks) -> Verdict:
    """The handler returned: the success rule decides the state, and never touches the result."""
    text = masks.mask_json(payload).decode("utf-8", "replace")
    code = _status_code(payload) if invocation.success is SuccessRule.STATUS_CODE else None
    if code is None or 200 <= code < 300:
        return Verdict(state=RunState.SUCCEEDED, payload=text)
    return Verdict(state=RunState.FAILED, reason=f"the handler returned statusCode {code}", payload=text)


def _status_code(payload: bytes) -> int | None:
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    code = value.get("statusCode") if isinstance(value, dict) else None
    if isinstance(code, bool):
        return None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 6:
        return int(code)
    return int(code) if isinstance(code, int | float) and abs(code) < 1e6 else None


def failed(invocation: Invocation, payload: bytes, fallback: str, masks: Masks) -> Verdict:
    """The runtime reported an error. A MemoryError is the limit's doing where the limit is an rlimit."""
    error = _error(masks.mask_json(payload), fallback)
    if error.type == "MemoryError":
        return out_of_memory(invocation, error)
    reason = f"{error.type}: {error.message}" if error.message else error.type
    return Verdict(state=RunState.FAILED, reason=_short(reason), error=error)


def _error(masked: bytes, fallback: str) -> RunError:
    try:
        value = json.loads(masked)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return RunError(type=fallback, message=masked.decode("utf-8", "replace")[:4096])
    trace = value.get("stackTrace") or value.get("trace") or []
    return RunError(
        type=str(value.get("errorType") or fallback),
        message=str(value.get("errorMessage") or ""),
        trace=tuple(str(frame) for frame in trace) if isinstance(trace, list) else (),
    )


def out_of_memory(invocation: Invocation, error: RunError | None = None) -> Verdict:
    """The memory limit ended it."""
    limit = invocation.limits.memory_mb
    return Verdict(
        state=RunState.OUT_OF_MEMORY, reason=f"it used more memory than its limit of {limit} MB", error=error
    )


def timed_out(invocation: Invocation) -> Verdict:
    """The handler took too long."""
    seconds = invocation.limits.timeout_s
    message = f"RequestId: {invocation.run} Error: Task timed out after {seconds:.2f} seconds"
    return Verdict(
        state=RunState.TIMED_OUT,
        reason=f"the handler did not return within {seconds:g} s",
        error=RunError(type="Sandbox.Timedout", message=message),
    )


def init_timed_out(seconds: float) -> Verdict:
    """Loading the handler's code took too long."""
    return Verdict(
        state=RunState.TIMED_OUT,
        reason=f"the handler's code did not load within {seconds:g} s",
        error=RunError(type="Sandbox.Timedout", message="init phase timed out"),
    )


def exited(invocation: Invocation, how: str) -> Verdict:
    """The process ended without an answer, in Lambda's words."""
    said = f"Runtime exited with error: {how}" if how else "Runtime exited without providing a reason"
    message = f"RequestId: {invocation.run} Error: {said}"
    return Verdict(
        state=RunState.FAILED,
        reason=f"the handler's process ended without a result ({how or 'exit status 0'})",
        error=RunError(type="Runtime.ExitError", message=message),
    )


def cancelled(reason: str) -> Verdict:
    """Somebody stopped it."""
    return Verdict(state=RunState.CANCELLED, reason=reason)


def _short(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
