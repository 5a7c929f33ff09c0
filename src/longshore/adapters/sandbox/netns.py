# SPDX-License-Identifier: Apache-2.0
"""A program that works in a cell's network namespace and nowhere else in the cell. Standard library only.

It goes there itself: the capabilities of the namespace's owner do not survive the start of a program.

usage: netns.py enter=FD ... control=FD [unreachable=NETWORK ...] [address=IP ...] [listen=IP PORT ...]
                [wait=SECONDS]

enter          a namespace to go to, in this order: the user namespace that owns the network's, unless we are
               root and have its capabilities anyway, and the network namespace
unreachable    a rule ahead of every route: nothing goes there, and whoever tries hears so at once
address        the loopback device answers to it
listen         a listening socket, sent through the socket `control` in one message, in this order
wait           until there is a way out, or exit 3
"""

import _socket
import os
import struct
import sys
import time

NETLINK_ROUTE = 0
NEW_ADDRESS, NEW_ROUTE, NEW_RULE = 20, 24, 32
REQUEST_ACK_CREATE_EXCL = 0x1 | 0x4 | 0x400 | 0x200
UNICAST = 1
UNREACHABLE = 7  # RTN_ and FR_ACT_ alike
BEFORE_ALL_ROUTES = 100  # only the local table, priority 0, comes first
MAIN_TABLE, STATIC, HOST_SCOPE, LOOPBACK = 254, 4, 254, 1
EXISTS = 17
FREE_BIND = {_socket.AF_INET: (_socket.IPPROTO_IP, 15), _socket.AF_INET6: (_socket.IPPROTO_IPV6, 78)}
NO_WAY_OUT = 3


def main(words: list[str]) -> int:
    """Do it all in the order that leaves no gap: nothing is reachable that must not be, ever."""
    given = [word.partition("=")[::2] for word in words]
    for number in _all(given, "enter"):
        _enter(int(number))
    with Kernel() as kernel:
        for network in _all(given, "unreachable"):
            kernel.close(network)
        for ip in _all(given, "address"):
            kernel.answer_to(ip)
    doors = [_listening(*pair.split(" ")) for pair in _all(given, "listen")]
    numbers = b"".join(door.fileno().to_bytes(4, sys.byteorder) for door in doors)
    control = _socket.socket(fileno=int(_all(given, "control")[0]))
    control.sendmsg([b"doors"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if doors else [])
    for seconds in _all(given, "wait"):
        if not _way_out(float(seconds)):
            return NO_WAY_OUT
    return 0


def _enter(namespace: int) -> None:
    if hasattr(os, "setns"):
        os.setns(namespace)
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"the sandbox's network cannot be entered: {os.strerror(number)}")


def _all(given: list[tuple[str, str]], name: str) -> list[str]:
    return [value for word, value in given if word == name]


class Kernel:
    """A netlink socket."""

    def __enter__(self) -> "Kernel":
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def close(self, network: str) -> None:
        """Nothing goes to this network. A kernel without rules has a route for it instead."""
        ip, _, length = network.partition("/")
        family, packed = _packed(ip)
        head = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, 0, 0, 0, UNREACHABLE, 0)
        priority = struct.pack("=I", BEFORE_ALL_ROUTES)
        try:
            self._ask(NEW_RULE, head + _attribute(1, packed) + _attribute(6, priority))
        except OSError:
            if family == _socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
                return
            head = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, MAIN_TABLE, STATIC, 0, UNREACHABLE, 0)
            self._ask(NEW_ROUTE, head + _attribute(1, packed))

    def answer_to(self, ip: str) -> None:
        """Give the loopback device one more address."""
        self.give_address(LOOPBACK, ip, 128 if ":" in ip else 32, scope=HOST_SCOPE)

    def give_address(self, device: int, ip: str, length: int, *, scope: int = 0) -> None:
        """Give a device an address in a network of that prefix length."""
        family, packed = _packed(ip)
        head = struct.pack("=BBBBI", family, length, 0, scope, device)
        self._ask(NEW_ADDRESS, head + _attribute(2, packed) + _attribute(1, packed))

    def give_gateway(self, device: int, ip: str) -> None:
        """All that goes anywhere else goes to this address, by that device."""
        family, packed = _packed(ip)
        head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, MAIN_TABLE, STATIC, 0, UNICAST, 0)
        self._ask(NEW_ROUTE, head + _attribute(5, packed) + _attribute(4, struct.pack("=I", device)))

    def _ask(self, kind: int, body: bytes) -> None:
        size = 16 + len(body)
        self._socket.send(struct.pack("=IHHII", size, kind, REQUEST_ACK_CREATE_EXCL, 1, 0) + body)
        answer = self._socket.recv(4096)
        (error,) = struct.unpack_from("=i", answer, 16)
        if error and -error != EXISTS:
            raise OSError(-error, os.strerror(-error))


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def _packed(ip: str) -> tuple[int, bytes]:
    family = _socket.AF_INET6 if ":" in ip else _socket.AF_INET
    return family, _socket.inet_pton(family, ip)


def _listening(ip: str, port: str) -> _socket.socket:
    """Whether the address is up already or not: it will be when somebody calls."""
    family, _ = _packed(ip)
    door = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    door.setsockopt(*FREE_BIND[family], 1)
    if family == _socket.AF_INET6:
        door.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    door.bind((ip, int(port)))
    door.listen(64)
    return door


def _way_out(seconds: float) -> bool:
    """A default route, of either version."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with open("/proc/self/net/route") as four:
            if any(line.split()[1:2] == ["00000000"] for line in four):
                return True
        if os.path.exists("/proc/self/net/ipv6_route"):
            with open("/proc/self/net/ipv6_route") as six:
                words = [line.split() for line in six]
            if any(one[0] == "0" * 32 and one[1] == "00" and one[-1] != "lo" for one in words):
                return True
        time.sleep(0.001)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
