# SPDX-License-Identifier: Apache-2.0
"""The Runtime API as conversations: what the runtime says, what it is told, what its invoker hears."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.runtime_api.protocol import (
    MAX_PAYLOAD_BYTES,
    Call,
    Environment,
    Failure,
    Head,
    InitDone,
    InitFailed,
    Reply,
    Response,
    State,
    Upload,
    Wait,
)

RUNTIME = "/2018-06-01/runtime"
FIRST = Call(request_id="first", deadline_ms=1_700_000_000_000, arn="arn:aws:lambda:x", event=b'{"a":1}')
SECOND = Call(request_id="second", deadline_ms=1, arn="arn:aws:lambda:x", event=b"null")


def get_next(environment: Environment) -> Reply | Wait | Upload:
    return environment.begin(Head(method="GET", path=f"{RUNTIME}/invocation/next"))


def post(environment: Environment, path: str, body: bytes = b"{}", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    judged = environment.begin(Head(method="POST", path=RUNTIME + path, headers=named))
    if isinstance(judged, Upload):
        return environment.complete(judged, body)
    assert isinstance(judged, Reply)
    return judged


def error_of(reply: Reply | Wait | Upload) -> tuple[int, str]:
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body)["errorType"]


@pytest.fixture
def running() -> Environment:
    environment = Environment()
    environment.offer(FIRST)
    get_next(environment)
    environment.news()
    return environment


def test_a_runtime_that_answers_two_events() -> None:
    environment = Environment()

    assert get_next(environment) == Wait()
    assert environment.news() == [InitDone()]
    environment.offer(FIRST)
    given_out = environment.hand_out()
    assert given_out is not None
    assert given_out.body == b'{"a":1}'
    assert dict(given_out.headers) == {
        "Lambda-Runtime-Aws-Request-Id": "first",
        "Lambda-Runtime-Deadline-Ms": "1700000000000",
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:x",
    }
    assert (
        post(environment, "/invocation/first/response", b"[1]", content_type="application/json").status == 202
    )
    assert environment.news() == [Response(b"[1]", "application/json")]

    environment.offer(SECOND)
    given_out = get_next(environment)  # type: ignore[assignment]
    assert isinstance(given_out, Reply)
    assert given_out.body == b"null"
    assert post(environment, "/invocation/second/error", b'{"errorType":"E"}').status == 202
    assert environment.news() == [Failure(b'{"errorType":"E"}', None)]


def test_the_context_travels_as_headers_and_empty_ones_do_not() -> None:
    environment = Environment()
    environment.offer(
        Call(
            request_id="r",
            deadline_ms=1,
            arn="a",
            event=b"{}",
            client_context='{"custom":{}}',
            identity='{"cognitoIdentityId":"i"}',
            trace_id="Root=1",
            tenant_id="",
        )
    )

    reply = get_next(environment)

    assert isinstance(reply, Reply)
    names = {name for name, _ in reply.headers}
    assert {"Lambda-Runtime-Client-Context", "Lambda-Runtime-Cognito-Identity"} <= names
    assert "Lambda-Runtime-Trace-Id" in names
    assert "Lambda-Runtime-Aws-Tenant-Id" not in names


def test_a_runtime_whose_code_does_not_load() -> None:
    environment = Environment()

    reply = post(
        environment,
        "/init/error",
        b'{"errorType":"Runtime.ImportModuleError"}',
        lambda_runtime_function_error_type="Runtime.ImportModuleError",
    )

    assert (reply.status, reply.body) == (202, b'{"status":"OK"}')
    assert environment.news() == [
        InitFailed(b'{"errorType":"Runtime.ImportModuleError"}', "Runtime.ImportModuleError")
    ]
    assert error_of(get_next(environment)) == (403, "InvalidStateTransition")


def test_init_error_after_init_is_refused_in_aws_words(running: Environment) -> None:
    reply = post(running, "/init/error")

    assert error_of(reply) == (403, "InvalidStateTransition")
    assert json.loads(reply.body)["errorMessage"] == (
        "State transition from Running to InitError failed for runtime."
        " Error: State transition is not allowed"
    )
    assert running.news() == []


def test_somebody_elses_request_id_is_refused_and_changes_nothing(running: Environment) -> None:
    assert error_of(post(running, "/invocation/foreign/response")) == (400, "InvalidRequestID")
    assert error_of(post(running, "/invocation/foreign/error")) == (400, "InvalidRequestID")
    assert running.news() == []

    assert post(running, "/invocation/first/response", b"1").status == 202
    assert running.news() == [Response(b"1", "application/json")]


def test_a_response_before_any_event_is_nobodys() -> None:
    environment = Environment()

    assert error_of(post(environment, "/invocation/first/response")) == (400, "InvalidRequestID")


def test_a_second_answer_is_refused(running: Environment) -> None:
    post(running, "/invocation/first/response", b"1")

    assert error_of(post(running, "/invocation/first/response", b"2")) == (403, "InvalidStateTransition")
    assert error_of(post(running, "/invocation/first/error", b"3")) == (403, "InvalidStateTransition")
    assert running.news() == [Response(b"1", "application/json")]


def test_only_one_answer_is_uploaded_at_a_time(running: Environment) -> None:
    head = Head(method="POST", path=f"{RUNTIME}/invocation/first/response")
    upload = running.begin(head)
    assert isinstance(upload, Upload)

    assert error_of(running.begin(head)) == (403, "InvalidStateTransition")
    assert error_of(get_next(running)) == (403, "InvalidStateTransition")
    assert running.complete(upload, b"1").status == 202


def test_an_answer_that_broke_off_may_be_given_again(running: Environment) -> None:
    upload = running.begin(Head(method="POST", path=f"{RUNTIME}/invocation/first/response"))
    assert isinstance(upload, Upload)
    running.break_off(upload)

    assert running.news() == []
    assert post(running, "/invocation/first/response", b"1").status == 202


def test_whoever_asks_again_without_having_answered_gets_the_same_event(running: Environment) -> None:
    reply = get_next(running)

    assert isinstance(reply, Reply)
    assert reply.body == FIRST.event
    assert running.state is State.RUNNING


def test_a_response_that_announces_too_many_bytes_is_refused_before_they_come(running: Environment) -> None:
    reply = post(running, "/invocation/first/response", content_length=str(MAX_PAYLOAD_BYTES + 1))

    assert error_of(reply) == (413, "RequestEntityTooLarge")
    assert json.loads(reply.body)["errorMessage"] == "Exceeded maximum allowed payload size (6291556 bytes)."
    [said] = running.news()
    assert isinstance(said, Failure)
    assert json.loads(said.payload) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert get_next(running) == Wait()


def test_a_response_of_exactly_the_limit_is_taken(running: Environment) -> None:
    body = b"x" * MAX_PAYLOAD_BYTES

    reply = post(running, "/invocation/first/response", body, content_length=str(len(body)))

    assert reply.status == 202


@pytest.mark.parametrize("length", ["99999999999999999999999999999999999", "1" * 5000])
def test_absurd_lengths_are_too_large(running: Environment, length: str) -> None:
    assert post(running, "/invocation/first/response", content_length=length).status == 413


def test_an_unknown_response_mode_is_refused_and_the_runtime_may_answer_properly(
    running: Environment,
) -> None:
    reply = post(running, "/invocation/first/response", lambda_runtime_function_response_mode="fancy")

    assert error_of(reply) == (400, "InvalidFunctionResponseMode")
    assert (
        post(running, "/invocation/first/response", lambda_runtime_function_response_mode="streaming").status
        == 202
    )


def test_a_stream_that_fails_half_way_is_a_failure(running: Environment) -> None:
    upload = running.begin(Head(method="POST", path=f"{RUNTIME}/invocation/first/response"))
    assert isinstance(upload, Upload)
    trailers = {
        "lambda-runtime-function-error-type": "Function.Broke",
        "lambda-runtime-function-error-body": base64.b64encode(b'{"errorType":"Broke"}').decode(),
    }

    running.complete(upload, b"half of it", trailers)

    assert running.news() == [Failure(b'{"errorType":"Broke"}', "Function.Broke")]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Function.MyError", "Function.MyError"),
        ("Function.my error", "Function.Unknown"),
        ("ValueError", "Runtime.Unknown"),
        ("", None),
    ],
)
def test_error_types_are_those_that_aws_knows(running: Environment, said: str, kept: str | None) -> None:
    post(running, "/invocation/first/error", b"{}", lambda_runtime_function_error_type=said)

    assert running.news() == [Failure(b"{}", kept)]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 200),
        ("GET", "/2018-06-01/ping", 200),
        ("POST", "/2018-06-01/runtime/invocation/next", 405),
        ("GET", "/2018-06-01/runtime/invocation/first/response", 405),
        ("GET", "/2018-06-01/runtime/init/error", 405),
        ("GET", "/", 404),
        ("GET", "/2018-06-01/runtime/invocation//response", 404),
        ("GET", "/2018-06-01/runtime/invocation/a/b/response", 404),
        ("GET", "/2018-06-01/runtime/restore/next", 404),
        ("POST", "/2020-01-01/extension/register", 404),
    ],
)
def test_what_is_not_there_or_asked_wrongly(method: str, path: str, status: int) -> None:
    reply = Environment().begin(Head(method=method, path=path))

    assert isinstance(reply, Reply)
    assert reply.status == status


def test_an_event_that_was_withdrawn_is_not_given_out() -> None:
    environment = Environment()
    get_next(environment)
    environment.offer(FIRST)
    environment.withdraw()

    assert environment.hand_out() is None


def test_the_answer_to_an_event_that_was_withdrawn_is_nobodys(running: Environment) -> None:
    upload = running.begin(Head(method="POST", path=f"{RUNTIME}/invocation/first/response"))
    assert isinstance(upload, Upload)
    running.withdraw()

    assert error_of(running.complete(upload, b"late")) == (400, "InvalidRequestID")
    assert error_of(post(running, "/invocation/first/error")) == (400, "InvalidRequestID")
    assert running.news() == []
    running.offer(SECOND)
    reply = get_next(running)
    assert isinstance(reply, Reply)
    assert reply.body == b"null"


STEPS = st.sampled_from(
    [
        "next",
        "offer",
        "withdraw",
        "response",
        "error",
        "init/error",
        "begin",
        "complete",
        "break_off",
        "overflow",
    ]
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_the_order_an_event_has_at_most_one_answer(steps: list[str]) -> None:
    environment, offered, answers, inits = Environment(), 0, 0, 0
    upload: Upload | None = None
    head = Head(method="POST", path=f"{RUNTIME}/invocation/first/response")
    for step in steps:
        if step == "next":
            get_next(environment)
        elif step == "offer":
            environment.offer(FIRST)
            offered += 1
            environment.hand_out()
        elif step == "withdraw":
            environment.withdraw()
        elif step in ("response", "error"):
            post(environment, f"/invocation/first/{step}")
        elif step == "init/error":
            post(environment, "/init/error")
        elif step == "begin":
            judged = environment.begin(head)
            upload = judged if isinstance(judged, Upload) else upload
        elif upload is not None and step == "complete":
            environment.complete(upload, b"")
        elif upload is not None and step == "overflow":
            environment.overflow(upload)
        elif upload is not None:
            environment.break_off(upload)
        for said in environment.news():
            answers += isinstance(said, Response | Failure)
            inits += isinstance(said, InitDone | InitFailed)

    assert answers <= offered
    assert inits <= 1
