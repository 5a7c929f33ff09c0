# SPDX-License-Identifier: Apache-2.0
"""The official Python client, unmodified, talks to our Runtime API over a real socket."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.runtime_api.runtime import runtime

from longshore.runtime_api.server import Failure, InitDone, InitFailed, Response

pytestmark = pytest.mark.anyio
ECHO = "def handler(event, context):\n    return event\n"


def payload(answer: Response | Failure | InitFailed | InitDone) -> dict[str, object]:
    assert isinstance(answer, Failure | InitFailed)
    value = json.loads(answer.payload)
    assert isinstance(value, dict)
    return value


async def test_every_kind_of_event_comes_back_as_it_was(tmp_path: Path) -> None:
    events = [b'{"a": [1, 2.5, null]}', b"[1, []]", b'"text"', b"null", b"true", b"-12.5e3", b"{}"]
    async with runtime(tmp_path, ECHO) as python:
        assert await python.api.ready() == InitDone()
        for number, event in enumerate(events):
            answer = await python.invoke(event, request_id=f"run-{number}")

            assert isinstance(answer, Response)
            assert json.loads(answer.payload) == json.loads(event)
            assert answer.content_type == "application/json"


async def test_text_of_all_the_world_survives(tmp_path: Path) -> None:
    text = 'zażółć 日本語 🚢 \u202e " \\ \n end'
    async with runtime(tmp_path, ECHO) as python:
        answer = await python.invoke(json.dumps(text, ensure_ascii=False).encode())

    assert isinstance(answer, Response)
    assert json.loads(answer.payload) == text


async def test_one_connection_after_another_event(tmp_path: Path) -> None:
    code = "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return count\n"
    async with runtime(tmp_path, code) as python:
        for number in range(1, 200):
            answer = await python.invoke(b"{}", request_id=f"run-{number}")

            assert isinstance(answer, Response)
            assert answer.payload == str(number).encode()


async def test_the_context_says_who_is_called_and_until_when(tmp_path: Path) -> None:
    code = """
def handler(event, context):
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis() > 1000,
        "client": context.client_context.custom if context.client_context else None,
        "identity": context.identity.cognito_identity_id,
    }
"""
    async with runtime(tmp_path, code) as python:
        answer = await python.invoke(
            b"{}",
            request_id="0190-abc",
            client_context='{"custom":\n{"k":"zażółć"}}',
            identity='{"cognitoIdentityId":"me","cognitoIdentityPoolId":"pool"}',
        )

    assert isinstance(answer, Response)
    said = json.loads(answer.payload)
    assert said["id"] == "0190-abc"
    assert said["arn"].endswith(":function:demo")
    assert said["left"] is True
    assert said["client"] == {"k": "zażółć"}
    assert said["identity"] == "me"


async def test_an_exception_is_a_failure_with_type_message_and_trace_and_the_next_event_is_served(
    tmp_path: Path,
) -> None:
    code = "def handler(event, context):\n    if event:\n        raise KeyError('lost')\n    return 'fine'\n"
    async with runtime(tmp_path, code) as python:
        answer = await python.invoke(b"1")
        again = await python.invoke(b"0", request_id="run-2")

    said = payload(answer)
    assert said["errorType"] == "KeyError"
    assert said["errorMessage"] == "'lost'"
    assert said["requestId"] == "run-1"
    assert isinstance(said["stackTrace"], list)
    assert "app.py" in said["stackTrace"][0]
    assert isinstance(again, Response)


async def test_a_result_that_is_not_json_is_a_marshal_error(tmp_path: Path) -> None:
    async with runtime(tmp_path, "def handler(event, context):\n    return {1, 2}\n") as python:
        answer = await python.invoke(b"{}")

    assert payload(answer)["errorType"] == "Runtime.MarshalError"


async def test_nothing_returned_is_null(tmp_path: Path) -> None:
    async with runtime(tmp_path, "def handler(event, context):\n    pass\n") as python:
        answer = await python.invoke(b"{}")

    assert isinstance(answer, Response)
    assert answer.payload == b"null"


@pytest.mark.parametrize(
    ("code", "handler", "type"),
    [
        ("import there_is_none\n", "app.handler", "Runtime.ImportModuleError"),
        ("def handler(:\n", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("x = 1\n", "app.handler", "Runtime.HandlerNotFound"),
        (ECHO, "elsewhere.handler", "Runtime.ImportModuleError"),
        (ECHO, "handler", "Runtime.MalformedHandlerName"),
        ("raise ValueError('at import')\n", "app.handler", "ValueError"),
    ],
)
async def test_code_that_does_not_load_is_reported_before_any_event(
    tmp_path: Path, code: str, handler: str, type: str
) -> None:
    async with runtime(tmp_path, code, handler) as python:
        said = await python.api.ready()
        code_of_exit = await python.process.wait()

    assert payload(said)["errorType"] == type
    assert code_of_exit == 1


async def test_a_handler_that_exits_leaves_the_invoker_waiting_until_it_gives_up(tmp_path: Path) -> None:
    async with runtime(tmp_path, "import sys\ndef handler(event, context):\n    sys.exit(3)\n") as python:
        invoking = asyncio.ensure_future(python.invoke(b"{}"))

        assert await python.process.wait() == 3
        await asyncio.sleep(0.05)
        assert not invoking.done()
        invoking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await invoking


async def test_the_largest_results_pass_and_larger_ones_fail_in_words(tmp_path: Path) -> None:
    code = "def handler(event, context):\n    return 'x' * event\n"
    async with runtime(tmp_path, code) as python:
        fits = await python.invoke(str(6 * 1024 * 1024).encode())
        too_large = await python.invoke(str(50 * 1024 * 1024).encode(), request_id="run-2")

    assert isinstance(fits, Response)
    assert len(fits.payload) == 6 * 1024 * 1024 + 2
    assert payload(too_large) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }


async def test_a_large_event_arrives_whole(tmp_path: Path) -> None:
    event = json.dumps("e" * 6_000_000).encode()
    async with runtime(tmp_path, "def handler(event, context):\n    return len(event)\n") as python:
        answer = await python.invoke(event)

    assert isinstance(answer, Response)
    assert answer.payload == b"6000000"


async def test_after_a_timeout_the_event_is_forgotten_and_the_late_answer_refused(tmp_path: Path) -> None:
    code = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n"
    async with runtime(tmp_path, code) as python:
        await python.api.ready()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await python.invoke(b"0.5")

        assert await python.process.wait() == 1  # this client gives up when its answer is refused
