# SPDX-License-Identifier: Apache-2.0
"""From what a runtime said, or how it fell silent, to a run's state and the sentence that explains it."""

import json
from dataclasses import dataclass

from longshore.domain.masking import Masks
from longshore.domain.order import Invocation
from longshore.domain.run import RunError, RunState
from longshore.domain.task import SuccessRule

TYPE_CHARACTERS = 200
MESSAGE_CHARACTERS = 32 * 1024
FRAME_CHARACTERS = 4 * 1024
MAX_FRAMES = 100


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
    if code is None or _is_2xx(code):
        return Verdict(state=RunState.SUCCEEDED, payload=text)
    shown = masks.mask(_text(code).encode("utf-8", "replace")).decode("utf-8", "replace")
    reason = f"the handler returned statusCode {shown}"
    return Verdict(state=RunState.FAILED, reason=_short(reason), payload=text)


def _status_code(payload: bytes) -> object:
    """The member statusCode where the result is an object that has one; None otherwise, and for null."""
    if b'"statusCode"' not in payload:
        return None  # most results: nothing is parsed, whatever their size
    value = _parsed(payload)
    return value.get("statusCode") if isinstance(value, dict) else None


def _is_2xx(code: object) -> bool:
    if isinstance(code, str):
        code = code.strip()
        return code.isascii() and code.isdigit() and len(code) == 3 and code.startswith("2")
    return isinstance(code, int | float) and not isinstance(code, bool) and 200 <= code < 300


def _parsed(text: bytes) -> object:
    """JSON's value; None for what is no JSON or nested too deep to be read."""
    try:
        value: object = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value


def failed(invocation: Invocation, payload: bytes, fallback: str, masks: Masks) -> Verdict:
    """The runtime reported an error. A MemoryError is the limit's doing where the limit is an rlimit."""
    error = _error(payload, fallback, masks)
    if error.type == "MemoryError":
        return out_of_memory(invocation, error)
    reason = f"{error.type}: {error.message}" if error.message else error.type
    return Verdict(state=RunState.FAILED, reason=_short(reason), error=error)


def _error(payload: bytes, fallback: str, masks: Masks) -> RunError:
    """What the error's JSON says, in strings that may be stored and shown; its text where it is no JSON."""

    def masked(value: object, limit: int) -> str:
        raw = masks.mask(_text(value)[: 2 * MESSAGE_CHARACTERS].encode("utf-8", "replace"))
        return _short(raw.decode("utf-8", "replace").replace("\0", "\ufffd"), limit)

    value = _parsed(masks.mask_json(payload))
    if not isinstance(value, dict):
        return RunError(type=fallback, message=masked(payload.decode("utf-8", "replace"), MESSAGE_CHARACTERS))
    trace = value.get("stackTrace") or value.get("trace")
    frames = _middle_out(trace) if isinstance(trace, list) else []
    return RunError(
        type=masked(value.get("errorType"), TYPE_CHARACTERS).strip() or fallback,
        message=masked(value.get("errorMessage"), MESSAGE_CHARACTERS),
        trace=tuple(masked(frame, FRAME_CHARACTERS) for frame in frames),
    )


def _text(value: object) -> str:
    """A member that should be text, as text; what cannot be one is named by its kind."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return "(an object)" if isinstance(value, dict) else "(a list)"


def _middle_out(frames: list[object]) -> list[object]:
    """The ends of a trace: the calls that led there, and the place itself."""
    if len(frames) <= MAX_FRAMES:
        return frames
    half = MAX_FRAMES // 2
    return [*frames[:half], f"  … {len(frames) - 2 * half} frames left out …\n", *frames[-half:]]


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


def unfit(why: str) -> Verdict:
    """The package cannot work on the Python that would run it; nothing of it was started."""
    error = RunError(type="Runtime.InvalidPackage", message=why)
    return Verdict(state=RunState.FAILED, reason=why, error=error)


def cancelled(reason: str) -> Verdict:
    """Somebody stopped it."""
    return Verdict(state=RunState.CANCELLED, reason=reason)


def _short(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
