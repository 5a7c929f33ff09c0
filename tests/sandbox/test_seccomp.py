# SPDX-License-Identifier: Apache-2.0
"""The system call filter, run by a small interpreter of our own: both processors, on any."""

import errno
import struct

import pytest

from longshore.adapters.sandbox.seccomp import AARCH64, ALLOW, KILL_PROCESS, MACHINES, Machine, program

REFUSED = 0x0005_0000


def answer(machine: Machine, number: int, first: int = 0, second: int = 0, audit: int | None = None) -> int:
    """What the filter says to a call."""
    data = struct.pack("=IIQQQ", number, audit or machine.audit, 0, first, second)
    code = program(machine)
    lines = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    loaded = at = 0
    while True:
        operation, then, otherwise, value = lines[at]
        at += 1
        if operation == 0x20:
            loaded = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x06:
            return int(value)
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[operation]
            at += then if holds else otherwise


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_every_denied_call_is_refused_and_none_of_its_neighbours(
    machine: Machine,
) -> None:
    denied = set(machine.denied.values())

    assert {answer(machine, number) for number in denied} == {REFUSED | errno.EPERM}
    special = {machine.clone, machine.socket, machine.ioctl}
    unified = {425, 426, 427, 428, 429, 430, 431, 432, 433, 435, 438, 440, 442, 443, 457, 458, 467}
    others = set(range(500)) - denied - special - unified
    assert {answer(machine, number) for number in others} == {ALLOW}


def test_another_architecture_is_killed(machine: Machine) -> None:
    assert answer(machine, 1, audit=0x4000_0003) == KILL_PROCESS


def test_x32_is_killed_where_it_exists() -> None:
    assert answer(MACHINES["x86_64"], 0x4000_0001) == KILL_PROCESS
    assert answer(AARCH64, 0x4000_0001) == ALLOW


@pytest.mark.parametrize("number", [425, 426, 427, 435])
def test_what_has_an_older_sibling_seems_not_to_exist(machine: Machine, number: int) -> None:
    assert answer(machine, number) == REFUSED | errno.ENOSYS


def test_threads_and_forks_are_fine_and_namespaces_are_not(machine: Machine) -> None:
    thread, fork = 0x003D_0F00, 17
    assert answer(machine, machine.clone, first=thread) == ALLOW
    assert answer(machine, machine.clone, first=fork) == ALLOW
    for flag in (0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert answer(machine, machine.clone, first=flag | fork) == REFUSED | errno.EPERM


def test_nobody_types_into_a_terminal(machine: Machine) -> None:
    assert answer(machine, machine.ioctl, second=0x5401) == ALLOW
    assert answer(machine, machine.ioctl, second=0x5412) == REFUSED | errno.EPERM
    assert answer(machine, machine.ioctl, second=0xFFFF_FFFF_0000_5412) == REFUSED | errno.EPERM
    assert answer(machine, machine.ioctl, second=0x541C) == REFUSED | errno.EPERM


def test_only_the_usual_families_have_sockets(machine: Machine) -> None:
    allowed = {family for family in range(64) if answer(machine, machine.socket, first=family) == ALLOW}

    assert allowed == {1, 2, 10, 16}
    assert answer(machine, machine.socket, first=40) == REFUSED | errno.EAFNOSUPPORT
