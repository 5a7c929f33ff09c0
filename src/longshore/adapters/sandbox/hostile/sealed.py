# SPDX-License-Identifier: Apache-2.0
"""A program in a network of its own: whatever hostile programs send there, it reaches nobody.

The network has one cable, and its other end is in this program's hand, which lets everything fall. Cells are
made in it as they are made outside: their way out, by pasta, leads to that cable.

usage: sealed.py, with a Given as JSON on its standard input
answer: [{"attack": ..., "is_open": ..., "words": ...}, ...]
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from longshore.adapters.sandbox import Kind, egress, open_sandbox
from longshore.adapters.sandbox.hostile.attacks import Material, Outcome, packaged, tried
from longshore.adapters.sandbox.hostile.victims import victims
from longshore.adapters.sandbox.netns import Kernel

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CABLE = "cable0"
HERE = (("198.51.100.1", 24), ("203.0.113.1", 24), ("2001:db8::1", 64))
GATEWAYS = ("198.51.100.254", "2001:db8::fe")
"""From the networks that are set aside for examples."""


class Given(TypedDict):
    """What is to be tried, with what cells are made of."""

    kind: Kind
    place: str
    attacks: list[str]
    runtime_root: str | None
    python: str
    runtime_dir: str


def leave_the_network() -> None:
    """Into a new one that has its loopback; an ordinary user needs a user namespace for that, and stays who
    they are in it. To be called before there is a second thread. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    kinds = CLONE_NEWNET | (CLONE_NEWUSER if user else 0)
    if ctypes.CDLL(None, use_errno=True).unshare(kinds):
        number = ctypes.get_errno()
        raise OSError(number, f"no network of one's own: {os.strerror(number)}")
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _raise_up("lo")


def lay_cable() -> int:
    """An interface with addresses and default routes; it is there as long as its descriptor is open."""
    cable = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(cable, TUNSETIFF, struct.pack("16sH22x", CABLE.encode(), IFF_TAP | IFF_NO_PI))
    _raise_up(CABLE)
    index = socket.if_nametoindex(CABLE)
    with Kernel() as kernel, contextlib.suppress(OSError):  # a kernel without IPv6 stops at the last ones
        for ip, length in HERE[:2]:
            kernel.give_address(index, ip, length)
        kernel.give_gateway(index, GATEWAYS[0])
        kernel.give_address(index, *HERE[2])
        kernel.give_gateway(index, GATEWAYS[1])
    return cable


def _raise_up(device: str) -> None:
    with socket.socket() as any_one:
        fcntl.ioctl(any_one, SIOCSIFFLAGS, struct.pack("16sH22x", device.encode(), IFF_UP))


async def _tried(given: Given) -> Sequence[Outcome]:
    place = Path(given["place"])
    root = given["runtime_root"]
    material = Material(
        runtime_root=None if root is None else Path(root),
        python=given["python"],
        runtime_dir=Path(given["runtime_dir"]),
    )
    with victims(place / "victims", everywhere=True) as after:
        sandbox = await open_sandbox(given["kind"], place / "sandbox")
        try:
            return await tried(sandbox, given["attacks"], material, packaged(place / "package"), after)
        finally:
            await sandbox.close()


def main(given: Given) -> None:
    """Try it all and print the outcomes."""
    leave_the_network()
    if egress.missing() is None:
        _cable = lay_cable()
    else:  # cells have no way out, and need none
        with Kernel() as kernel:
            kernel.answer_to(HERE[0][0])
    outcomes = asyncio.run(_tried(given))
    print(json.dumps([dataclasses.asdict(one) for one in outcomes]))


if __name__ == "__main__":
    main(json.load(sys.stdin))
