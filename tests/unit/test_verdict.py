# SPDX-License-Identifier: Apache-2.0
"""From a runtime's last words to a run's state and reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.domain.ids import Digest, ProjectId, RunId
from longshore.domain.masking import Masks
from longshore.domain.order import Invocation
from longshore.domain.run import RunState
from longshore.domain.task import Limits, SuccessRule
from longshore.interceptor import verdict

OPEN = Masks(())
SECRET = Masks(("hunter2hunter2",))


def an_invocation(success: SuccessRule = SuccessRule.STATUS_CODE) -> Invocation:
    return Invocation(
        run=RunId("run-1"),
        attempt=1,
        project_id=ProjectId("p"),
        project="demo",
        task="task",
        revision=1,
        runtime="python3.11",
        handler="app.handler",
        package=Digest("d"),
        event=b"{}",
        limits=Limits(memory_mb=256, timeout_s=1.5),
        success=success,
    )


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        ('{"statusCode": 200}', RunState.SUCCEEDED),
        ('{"statusCode": 299.0, "body": ""}', RunState.SUCCEEDED),
        ('{"statusCode": "204"}', RunState.SUCCEEDED),
        ('{"statusCode": " 200 "}', RunState.SUCCEEDED),
        ('{"statusCode": null}', RunState.SUCCEEDED),
        ('{"body": "no code"}', RunState.SUCCEEDED),
        ("null", RunState.SUCCEEDED),
        ("[200]", RunState.SUCCEEDED),
        ('"statusCode"', RunState.SUCCEEDED),
        ('{"nested": {"statusCode": 500}}', RunState.SUCCEEDED),
        ('{"statusCode": 300}', RunState.FAILED),
        ('{"statusCode": 500}', RunState.FAILED),
        ('{"statusCode": 199.9}', RunState.FAILED),
        ('{"statusCode": "500"}', RunState.FAILED),
        ('{"statusCode": "2000"}', RunState.FAILED),
        ('{"statusCode": "\\u0662\\u0660\\u0660"}', RunState.FAILED),
        ('{"statusCode": true}', RunState.FAILED),
        ('{"statusCode": NaN}', RunState.FAILED),
        ('{"statusCode": Infinity}', RunState.FAILED),
        ('{"statusCode": [200]}', RunState.FAILED),
        ('{"statusCode": {"a": 1}}', RunState.FAILED),
        ('{"statusCode": 1e400}', RunState.FAILED),
    ],
)
def test_the_status_code_decides_where_there_is_one(payload: str, state: RunState) -> None:
    found = verdict.returned(an_invocation(), payload.encode(), OPEN)

    assert found.state is state
    assert found.payload == payload
    assert (found.reason is None) == (state is RunState.SUCCEEDED)


def test_the_reason_names_the_status_code() -> None:
    found = verdict.returned(an_invocation(), b'{"statusCode": 503}', OPEN)

    assert found.reason == "the handler returned statusCode 503"


def test_with_the_other_rule_every_return_is_a_success() -> None:
    found = verdict.returned(an_invocation(SuccessRule.ANY_RETURN), b'{"statusCode": 500}', OPEN)

    assert (found.state, found.payload) == (RunState.SUCCEEDED, '{"statusCode": 500}')


@pytest.mark.parametrize(
    "payload",
    [
        b'{"statusCode":' + b"[" * 200_000,
        b'{"statusCode":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"statusCode": 2' + b"0" * 100_000 + b"}",
        b'{"statusCode": 200',
        b'\xff\xfe{"statusCode": 500}',
        b'{"statusCode": "\\ud800"}',
        b'{"a": NaN, "b": "\x00", "statusCode": -0.0}',
        b"",
    ],
)
def test_hostile_results_are_kept_and_judged_without_harm(payload: bytes) -> None:
    found = verdict.returned(an_invocation(), payload, SECRET)

    assert found.state in (RunState.SUCCEEDED, RunState.FAILED)
    assert found.payload is not None
    (found.payload + (found.reason or "")).encode()


def test_a_secret_is_masked_in_the_result_and_in_the_reason() -> None:
    found = verdict.returned(an_invocation(), b'{"statusCode": "hunter2hunter2"}', SECRET)

    assert found.payload == '{"statusCode": "***"}'
    assert found.reason == "the handler returned statusCode ***"


def test_an_error_is_told_in_the_runtimes_words() -> None:
    said = {
        "errorType": "KeyError",
        "errorMessage": "'x'",
        "requestId": "r",
        "stackTrace": ["  File a\n", "b"],
    }

    found = verdict.failed(an_invocation(), json.dumps(said).encode(), "Runtime.Unknown", OPEN)

    assert (found.state, found.reason) == (RunState.FAILED, "KeyError: 'x'")
    assert found.error is not None
    assert (found.error.type, found.error.message) == ("KeyError", "'x'")
    assert found.error.trace == ("  File a\n", "b")


def test_nodes_trace_is_understood() -> None:
    found = verdict.failed(
        an_invocation(), b'{"errorType":"Error","trace":["Error: x"]}', "Runtime.Unknown", OPEN
    )

    assert found.error is not None
    assert found.error.trace == ("Error: x",)
    assert found.reason == "Error"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b"{}",
        b'{"errorType": null, "errorMessage": {"a": 1}, "stackTrace": "text"}',
        b'{"errorType": ["x"], "errorMessage": [[[]]], "stackTrace": [{"a": 1}, 5, null, [1]]}',
        b'{"errorType": "A\\u0000B", "errorMessage": "\\ud800\\u0000", "trace": ["\\udfff"]}',
        b'{"errorMessage": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"[" * 1_000_000,
        b'{"errorMessage": NaN, "errorType": 12}',
        b"\xff\xfe\x00",
        b'{"errorType": "%s"}' % (b"T" * 5_000_000),
        b'{"errorMessage": "%s"}' % (b"m" * 5_000_000),
        b'{"stackTrace": [%s"end"]}' % (b'"frame",' * 300_000),
        b'{"stackTrace": ["%s"]}' % (b"f" * 5_000_000),
    ],
)
def test_hostile_errors_become_bounded_text_that_may_be_stored(payload: bytes) -> None:
    found = verdict.failed(an_invocation(), payload, "Runtime.Unknown", SECRET)

    assert found.state is RunState.FAILED
    assert found.reason
    assert len(found.reason) <= 500
    assert found.error is not None
    assert found.error.type
    texts = (found.reason, found.error.type, found.error.message, *found.error.trace)
    assert len(found.error.trace) <= verdict.MAX_FRAMES + 1
    assert sum(map(len, texts)) < 500_000
    for text in texts:
        text.encode()
        assert "\0" not in text


@given(st.binary(max_size=200))
def test_any_bytes_are_a_failure_with_a_type(payload: bytes) -> None:
    found = verdict.failed(an_invocation(), payload, "Runtime.Unknown", OPEN)

    assert found.error is not None
    assert found.error.type


def test_a_secret_in_an_error_is_masked_in_every_part_also_when_it_was_escaped() -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in "hunter2hunter2")
    payload = f'{{"errorType":"hunter2hunter2","errorMessage":"it is {escaped}","stackTrace":["{escaped}"]}}'

    found = verdict.failed(an_invocation(), payload.encode(), "Runtime.Unknown", SECRET)

    assert "hunter2" not in repr(found)
    assert found.reason == "***: it is ***"


def test_a_secret_at_the_edge_of_a_long_message_is_masked_whole() -> None:
    for missing in range(14):
        text = "x" * (verdict.MESSAGE_CHARACTERS - missing) + "hunter2hunter2"

        found = verdict.failed(an_invocation(), json.dumps({"errorMessage": text}).encode(), "R", SECRET)

        assert "hunter" not in repr(found)


def test_out_of_memory_is_named_as_the_limit_whoever_says_so() -> None:
    found = verdict.failed(an_invocation(), b'{"errorType":"MemoryError","errorMessage":""}', "R", OPEN)

    assert found.state is RunState.OUT_OF_MEMORY
    assert found.reason == "it used more memory than its limit of 256 MB"
    assert found.error is not None


def test_a_timeout_is_worded_as_lambda_words_it() -> None:
    found = verdict.timed_out(an_invocation())

    assert found.state is RunState.TIMED_OUT
    assert found.error is not None
    assert found.error.type == "Sandbox.Timedout"
    assert found.error.message == "RequestId: run-1 Error: Task timed out after 1.50 seconds"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("", "RequestId: run-1 Error: Runtime exited without providing a reason"),
        ("exit status 3", "RequestId: run-1 Error: Runtime exited with error: exit status 3"),
        ("signal: killed", "RequestId: run-1 Error: Runtime exited with error: signal: killed"),
    ],
)
def test_an_exit_is_worded_as_lambda_words_it(how: str, message: str) -> None:
    found = verdict.exited(an_invocation(), how)

    assert found.error is not None
    assert (found.error.type, found.error.message) == ("Runtime.ExitError", message)
