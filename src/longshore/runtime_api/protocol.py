# SPDX-License-Identifier: Apache-2.0
"""Lambda's Runtime API for one environment, as a table. No sockets here: requests go in, replies come out.

    Started ──next──▶ Ready ──event──▶ Running ──response│error──▶ Responding ──body──▶ ResponseSent
       │                ▲                │ ▲                           │                     │
       └─init/error─▶ InitError          │ └──── connection broke ─────┘                     │
                        └────────────────┴──────────────────────next────────────────────────-┘

    begin(head)            what to do about a request whose head has arrived: a Reply, Wait, or an Upload
    complete / overflow    the body of an Upload has arrived, or is larger than allowed
    break_off              the connection of an Upload is gone
    offer, hand_out        an event for the runtime, and the reply that carries it to whoever waits
    news()                 what the runtime has said since it was asked last

Names of states, error types and sentences are AWS's own (its Runtime Interface Emulator is the reference).
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024 + 100
VERSION = "/2018-06-01"
ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"
RESPONSE_MODE = "lambda-runtime-function-response-mode"
_INVOCATION = re.compile(VERSION + r"/runtime/invocation/([^/]+)/(response|error)")
_KNOWN_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


class State(StrEnum):
    """Where a runtime is. The words appear in AWS's refusals."""

    STARTED = "Started"
    INIT_ERROR = "InitError"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDING = "InvocationResponse"
    RESPONDING_ERROR = "InvocationErrorResponse"
    SENT = "RuntimeResponseSentState"


class Ask(StrEnum):
    """What a runtime may ask for."""

    NEXT = "next"
    RESPONSE = "response"
    ERROR = "error"
    INIT_ERROR = "init/error"
    PING = "ping"


_S = State
MOVES: Mapping[tuple[State, Ask], State] = {
    (_S.STARTED, Ask.NEXT): _S.READY,
    (_S.STARTED, Ask.INIT_ERROR): _S.INIT_ERROR,
    (_S.READY, Ask.NEXT): _S.READY,
    (_S.RUNNING, Ask.NEXT): _S.RUNNING,  # asked again after a lost reply: the same event again
    (_S.RUNNING, Ask.RESPONSE): _S.RESPONDING,
    (_S.RUNNING, Ask.ERROR): _S.RESPONDING_ERROR,
    (_S.SENT, Ask.NEXT): _S.READY,
}
_WANTED: Mapping[Ask, State] = {
    Ask.NEXT: _S.READY,
    Ask.RESPONSE: _S.RESPONDING,
    Ask.ERROR: _S.RESPONDING_ERROR,
    Ask.INIT_ERROR: _S.INIT_ERROR,
}
_METHOD: Mapping[Ask, str] = {
    Ask.NEXT: "GET",
    Ask.RESPONSE: "POST",
    Ask.ERROR: "POST",
    Ask.INIT_ERROR: "POST",
    Ask.PING: "GET",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An event for the handler. `deadline_ms` is milliseconds since 1970; context and identity are JSON."""

    request_id: str
    deadline_ms: int
    arn: str
    event: bytes
    content_type: str = "application/json"
    client_context: str | None = None
    identity: str | None = None
    trace_id: str | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class InitDone:
    """The handler's code is loaded and the runtime asks for an event."""


@dataclass(frozen=True, slots=True)
class InitFailed:
    """The handler's code could not be loaded; `payload` is the runtime's error JSON."""

    payload: bytes
    type: str | None


@dataclass(frozen=True, slots=True)
class Response:
    """What the handler returned."""

    payload: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The handler failed; `payload` is the runtime's error JSON."""

    payload: bytes
    type: str | None


News = InitDone | InitFailed | Response | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request without its body. Names of headers are in lower case; `path` has no query."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole HTTP response. `close`: nothing more is wanted on this connection."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    close: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no event yet; the one who asked waits for `hand_out`."""


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An admitted body on its way. At most one at a time, as on AWS."""

    ask: Ask
    head: Head


def refusal(status: int, type: str, message: str, *, close: bool = False) -> Reply:
    """An error as AWS words it."""
    body = json.dumps({"errorMessage": message, "errorType": type}).encode()
    return Reply(status=status, body=body, close=close)


BAD_REQUEST = refusal(400, "InvalidRequest", "this is not an HTTP request that can be answered", close=True)
INVALID_ID = refusal(400, "InvalidRequestID", "Invalid request ID")
INVALID_MODE = refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode")
TRUNCATED = refusal(400, "TruncatedHTTPRequest", "HTTP request detected as truncated", close=True)
TOO_LARGE = refusal(
    413,
    "RequestEntityTooLarge",
    f"Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).",
    close=True,
)
ACCEPTED = Reply(status=202, body=b'{"status":"OK"}')
PONG = Reply(status=200, body=b"pong", content_type="text/plain")
RESPONSE_TOO_LARGE = Failure(
    json.dumps(
        {
            "errorMessage": "Response payload size exceeded maximum allowed payload size"
            f" ({MAX_PAYLOAD_BYTES} bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
    ).encode(),
    "Function.ResponseSizeTooLarge",
)


class Environment:
    """One runtime's side of the conversation, from its first word to the end of its process."""

    def __init__(self) -> None:
        self.state = State.STARTED
        self._offered: Call | None = None
        self._call: Call | None = None
        self._upload: Upload | None = None
        self._news: list[News] = []

    def news(self) -> list[News]:
        """What the runtime has said since this was asked last."""
        said, self._news = self._news, []
        return said

    def offer(self, call: Call) -> None:
        """Have an event for whoever asks next."""
        self._offered = call

    def withdraw(self) -> None:
        """Forget the event. An answer that comes for it now is nobody's; the runtime may ask for the next."""
        self._offered = None
        if self.state in (State.RUNNING, State.RESPONDING, State.RESPONDING_ERROR):
            self.state, self._call, self._upload = State.SENT, None, None

    def hand_out(self) -> Reply | None:
        """The reply for one who waits; None when there is no event, or nobody may have it now."""
        if self._offered is None or self.state is not State.READY:
            return None
        self._call, self._offered = self._offered, None
        self.state = State.RUNNING
        return _event(self._call)

    def begin(self, head: Head) -> Reply | Wait | Upload:
        """Judge a request by its head: where, how, for which invocation, in which state, how large."""
        ask, request_id = _asked(head.path)
        if ask is None:
            return refusal(404, "NotFound", f"there is no {head.path[:200]} in the Runtime API")
        if head.method != _METHOD[ask]:
            return _wrong_method(ask)
        if ask is Ask.PING:
            return PONG
        if request_id is not None and (self._call is None or request_id != self._call.request_id):
            return INVALID_ID
        to = MOVES.get((self.state, ask))
        if to is None:
            return self._not_allowed(ask)
        return self._next(to) if ask is Ask.NEXT else self._admitted(ask, head, to)

    def _not_allowed(self, ask: Ask) -> Reply:
        return refusal(
            403,
            "InvalidStateTransition",
            f"State transition from {self.state} to {_WANTED[ask]} failed for runtime."
            " Error: State transition is not allowed",
        )

    def _next(self, to: State) -> Reply | Wait:
        if self.state is State.RUNNING and self._call is not None:
            return _event(self._call)
        if self.state is State.STARTED:
            self._news.append(InitDone())
        self.state = to
        return self.hand_out() or Wait()

    def _admitted(self, ask: Ask, head: Head, to: State) -> Reply | Upload:
        if ask is Ask.RESPONSE and head.headers.get(RESPONSE_MODE, "streaming").lower() != "streaming":
            return INVALID_MODE
        self.state = to
        self._upload = Upload(ask, head)
        length = head.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_PAYLOAD_BYTES:
            return self.overflow(self._upload)
        return self._upload

    def complete(self, upload: Upload, body: bytes, trailers: Mapping[str, str] | None = None) -> Reply:
        """The body is here: the invocation (or the init) is decided."""
        if upload is not self._upload:
            return INVALID_ID
        self._upload = None
        self._decide(upload, _said(upload, body, trailers or {}))
        return ACCEPTED

    def overflow(self, upload: Upload) -> Reply:
        """The body is larger than allowed; the invoker hears so in the runtime's place."""
        if upload is self._upload:
            self._upload = None
            late = InitFailed(RESPONSE_TOO_LARGE.payload, RESPONSE_TOO_LARGE.type)
            self._decide(upload, late if upload.ask is Ask.INIT_ERROR else RESPONSE_TOO_LARGE)
        return TOO_LARGE

    def _decide(self, upload: Upload, said: News) -> None:
        if upload.ask is not Ask.INIT_ERROR:
            self.state = State.SENT
        self._news.append(said)

    def break_off(self, upload: Upload) -> None:
        """The connection went away in the middle of the body: as if it had never begun."""
        if upload is self._upload:
            self._upload = None
            self.state = State.STARTED if upload.ask is Ask.INIT_ERROR else State.RUNNING


def _asked(path: str) -> tuple[Ask | None, str | None]:
    fixed = {
        f"{VERSION}/runtime/invocation/next": Ask.NEXT,
        f"{VERSION}/runtime/init/error": Ask.INIT_ERROR,
        f"{VERSION}/ping": Ask.PING,
        "/ping": Ask.PING,
    }
    found = _INVOCATION.fullmatch(path)
    return (Ask(found[2]), found[1]) if found else (fixed.get(path), None)


def _wrong_method(ask: Ask) -> Reply:
    reply = refusal(405, "MethodNotAllowed", f"this takes {_METHOD[ask]}")
    return replace(reply, headers=(("Allow", _METHOD[ask]),))


def _event(call: Call) -> Reply:
    named = (
        ("Lambda-Runtime-Aws-Request-Id", call.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(call.deadline_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", call.arn),
        ("Lambda-Runtime-Trace-Id", call.trace_id),
        ("Lambda-Runtime-Client-Context", call.client_context),
        ("Lambda-Runtime-Cognito-Identity", call.identity),
        ("Lambda-Runtime-Aws-Tenant-Id", call.tenant_id),
    )
    headers = tuple((name, value) for name, value in named if value)
    return Reply(status=200, body=call.event, headers=headers, content_type=call.content_type)


def _said(upload: Upload, body: bytes, trailers: Mapping[str, str]) -> News:
    headers = upload.head.headers
    if upload.ask is Ask.INIT_ERROR:
        return InitFailed(body, _known_type(headers.get(ERROR_TYPE)))
    if upload.ask is Ask.ERROR:
        return Failure(body, _known_type(headers.get(ERROR_TYPE)))
    if ERROR_TYPE in trailers:  # a stream that failed half-way says so behind its last chunk
        return Failure(_decoded(trailers.get(ERROR_BODY, "")), _known_type(trailers[ERROR_TYPE]))
    return Response(body, headers.get("content-type", "application/json"))


def _known_type(named: str | None) -> str | None:
    if not named or _KNOWN_TYPE.fullmatch(named):
        return named or None
    return "Function.Unknown" if named.startswith("Function.") else "Runtime.Unknown"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "replace")
