# SPDX-License-Identifier: Apache-2.0
"""The environment a handler wakes up in: Lambda's own variables over what the task asks for."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from longshore.domain.order import Invocation
from longshore.domain.secret import Plaintext
from longshore.ports.sandbox import PLATFORM_PORT

REGION = "us-east-1"
ACCOUNT = "000000000000"
OUTPUT_DIR = "/output"
INPUT_DIR = "/var/input"
# what an interpreter, its C library and the client look at once, when they start
_AT_THE_START = (
    *("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "GCONV_", "OPENSSL_", "HOME", "AWS_LAMBDA_LOG_"),
    "AWS_LAMBDA_EXEC_WRAPPER",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How a run names itself towards its handler."""

    log_group: str
    log_stream: str


def identity(invocation: Invocation, at: datetime) -> Identity:
    """The names of a run's log, as Lambda forms them."""
    return Identity(
        log_group=f"/aws/lambda/{invocation.task}",
        log_stream=f"{at.astimezone(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}",
    )


def arn_of(invocation: Invocation) -> str:
    """The function's ARN, as Lambda forms it."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{invocation.task}"


def starting_environment(runtime: str) -> Mapping[str, str]:
    """What an interpreter starts with before it is known for whom: the same for every task."""
    return {**_UNRESERVED, **_fixed(runtime)}


def starts_alike(environment: Mapping[str, str]) -> bool:
    """Whether a task's interpreter may start before its environment is known."""
    return not any(name.startswith(_AT_THE_START) for name in environment)


def environment_of(
    invocation: Invocation, named: Identity, runtime: str, word: Plaintext
) -> Mapping[str, str]:
    """Everything in os.environ. As on Lambda a task may change search paths, language and time zone; the
    reserved names win over its own. `word` stands for the run's token at the platform's door."""
    return {
        **_UNRESERVED,
        **invocation.environment,
        **_fixed(runtime),
        "AWS_LAMBDA_FUNCTION_NAME": invocation.task,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(invocation.limits.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": named.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": named.log_stream,
        "_HANDLER": invocation.handler,
        "LONGSHORE_RUN_ID": invocation.run,
        "LONGSHORE_PROJECT": invocation.project,
        "LONGSHORE_URL": f"http://127.0.0.1:{PLATFORM_PORT}",
        "LONGSHORE_TOKEN": word.reveal(),
    }


def _fixed(runtime: str) -> Mapping[str, str]:
    return {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "OUTPUT_DIR": OUTPUT_DIR,
        "INPUT_DIR": INPUT_DIR,
    }


_UNRESERVED: Mapping[str, str] = {
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LD_LIBRARY_PATH": (
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
    ),
    "HOME": "/tmp",  # noqa: S108  (the sandbox's own)
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
}
