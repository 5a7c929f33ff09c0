# SPDX-License-Identifier: Apache-2.0
"""What a task's network may be, and which pairs host:port it may allow."""

import dataclasses
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from longshore.domain.errors import Forbidden, Invalid
from longshore.domain.ids import Digest, ProjectId, TaskId
from longshore.domain.network import Address, NetworkMode, address, checked_allow
from longshore.domain.project import Actor, Role
from longshore.domain.task import Task

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = Task(
    id=TaskId("t"),
    project_id=ProjectId("p"),
    name="echo",
    runtime="python3.11",
    handler="app.handler",
    package_name="echo.zip",
    package=Digest("c" * 64),
    created_at=NOW,
    updated_at=NOW,
    updated_by="somebody",
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mail.example.com:25", "mail.example.com", 25),
        (" Mail.Example.COM:25 ", "mail.example.com", 25),
        ("127.0.0.1:1025", "127.0.0.1", 1025),
        ("localhost:65535", "localhost", 65535),
        ("[::1]:1025", "::1", 1025),
        ("[FD00:0::2]:1", "fd00::2", 1),
        ("db:5432", "db", 5432),
        ("10.1.2.3:9001", "10.1.2.3", 9001),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    found = address(text)

    assert found == Address(host, port)
    assert address(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "mail",
        "mail:",
        ":25",
        "mail:0",
        "mail:65536",
        "mail:-1",
        "mail:٢٥",
        "mail:25/tcp",
        "http://mail:25",
        "*:25",
        "*.example.com:25",
        "10.0.0.0/8:25",
        "1.2.3:25",
        "300.1.1.1:25",
        "0.0.0.0:25",
        "::1:25",
        "[::1]",
        "[fe80::1%eth0]:25",
        "[mail]:25",
        "-a:25",
        "a b:25",
        "a\n:25",
        "a..b:25",
        "a" * 254 + ":25",
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(Invalid, match="it takes host:port, such as") as raised:
        address(text)

    assert raised.value.field == "allow"


@pytest.mark.parametrize("text", ["127.0.0.1:9001", "localhost:9002", "[::1]:9002", "127.9.9.9:9001"])
def test_the_platforms_own_doors_cannot_be_replaced(text: str) -> None:
    with pytest.raises(Invalid, match="the platform's own door"):
        address(text)


def test_addresses_are_kept_once_and_in_one_way_of_writing() -> None:
    assert checked_allow(["Mail:25", "mail:25", "[0::1]:80"]) == ("mail:25", "[::1]:80")


def test_addresses_are_bounded_in_number() -> None:
    with pytest.raises(Invalid, match="33 addresses are allowed; at most 32"):
        checked_allow([f"mail:{port}" for port in range(1, 34)])


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RUNNER, Role.EDITOR])
def test_the_machines_network_is_for_admins_to_give(role: Role) -> None:
    task = dataclasses.replace(TASK, network=NetworkMode.HOST)

    with pytest.raises(Forbidden, match="takes the role admin"):
        task.check_may_save(Actor(name="somebody", role=role, project_id=None))

    task.check_may_save(Actor(name="somebody", role=Role.ADMIN, project_id=None))
    TASK.check_may_save(Actor(name="somebody", role=role, project_id=None))


def test_a_task_kept_before_there_were_networks_has_egress() -> None:
    adapter = TypeAdapter(Task)
    kept = adapter.dump_python(TASK, mode="json")
    del kept["network"], kept["allow"]

    found = adapter.validate_python(kept)

    assert found == TASK
    assert found.reach.mode is NetworkMode.EGRESS
    assert found.reach.allow == ()
