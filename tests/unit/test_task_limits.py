# SPDX-License-Identifier: Apache-2.0
"""What a task may ask for."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from longshore.domain.errors import Invalid
from longshore.domain.ids import Digest, ProjectId, TaskId
from longshore.domain.parameters import Parameter
from longshore.domain.task import MAX_ENVIRONMENT_BYTES, RESERVED_ENVIRONMENT, Limits, Task, check_environment

AT = datetime(2026, 1, 1, tzinfo=UTC)
TASK = Task(
    id=TaskId("t"),
    project_id=ProjectId("p"),
    name="report",
    runtime="python3.11",
    handler="lambda_function.lambda_handler",
    package_name="report.zip",
    package=Digest("0" * 64),
    created_at=AT,
    updated_at=AT,
    updated_by="me",
)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(cpus=0.1, memory_mb=64, disk_mb=1, timeout_s=0.1, pids=16),
        Limits(cpus=256, memory_mb=1_048_576, disk_mb=1_048_576, timeout_s=7 * 86_400, pids=32_768),
    ],
)
def test_limits_within_their_ranges_are_themselves(limits: Limits) -> None:
    assert limits.checked() is limits


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"cpus": 0}, "cpus", "cpus is 0; it takes 0.1 to 256 cores"),
        ({"cpus": 256.5}, "cpus", "cpus is 256.5;"),
        ({"cpus": math.nan}, "cpus", "cpus is nan;"),
        ({"timeout_s": math.inf}, "timeout_s", "timeout_s is inf; it takes 0.1 to 604800 seconds"),
        ({"memory_mb": 63}, "memory_mb", "memory_mb is 63; it takes 64 to 1048576 MB"),
        ({"memory_mb": 1_048_577}, "memory_mb", "memory_mb is 1048577;"),
        ({"disk_mb": 0}, "disk_mb", "disk_mb is 0;"),
        ({"timeout_s": -1}, "timeout_s", "timeout_s is -1;"),
        ({"pids": 15}, "pids", "pids is 15; it takes 16 to 32768 processes"),
    ],
)
def test_a_limit_out_of_its_range_is_named_with_the_range(
    wrong: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        replace(Limits(), **wrong).checked()

    assert caught.value.field == field
    assert words in caught.value.message


def test_a_task_that_can_be_is_itself() -> None:
    assert TASK.checked() is TASK


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"location": "a.b"}, "location"),
        ({"handler": ""}, "handler"),
        ({"handler": "  "}, "handler"),
        ({"handler": "a.b\n"}, "handler"),
        ({"handler": "x" * 129}, "handler"),
        ({"limits": Limits(pids=1)}, "pids"),
        ({"parameters": (Parameter(name="a"), Parameter(name="a"))}, "parameters"),
        ({"parameters": (Parameter(name="a b"),)}, "parameters"),
        ({"environment": {"AWS_REGION": "x"}}, "environment"),
    ],
)
def test_a_task_that_cannot_be_names_the_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        replace(TASK, **wrong).checked()

    assert caught.value.field == field


@pytest.mark.parametrize("name", sorted(RESERVED_ENVIRONMENT))
def test_the_platforms_own_variables_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match=name):
        check_environment({name: "x"})


@pytest.mark.parametrize("environment", [{"A-B": "x"}, {"": "x"}, {"A": "x\x00"}, {"A": "\ud800"}])
def test_a_variable_that_no_process_can_have_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        check_environment(environment)


def test_the_environment_takes_four_kilobytes_of_names_and_values() -> None:
    check_environment({"A": "x" * (MAX_ENVIRONMENT_BYTES - 1)})

    with pytest.raises(Invalid, match="4097"):
        check_environment({"A": "x" * MAX_ENVIRONMENT_BYTES})
    with pytest.raises(Invalid, match="4096 fit"):
        check_environment({"A": "ä" * 2048})
