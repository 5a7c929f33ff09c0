# SPDX-License-Identifier: Apache-2.0
"""What of the outside a cell may reach, and what it takes on this machine.

pasta stands between the cell's network namespace and ours: a process without rights that carries connections.
Neither this machine's addresses nor the metadata services of clouds are behind it.
"""

import ipaddress
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import slots
from longshore.adapters.sandbox.slots import Slot

TUN = Path("/dev/net/tun")
METADATA = (
    *("169.254.0.0/16", "fd00:ec2::/32"),  # nearly everybody's, AWS's
    *("100.100.100.200/32", "168.63.129.16/32", "fd20:ce::254/128"),  # Alibaba's, Azure's, Google's
)
HARDENED = ("-t", "none", "-u", "none", "-T", "none", "-U", "none")  # no port in either direction
LOOK_EVERY_S = 1.0
RETRY_AFTER_S = 60.0
DNS_FORWARD = "198.18.0.53"  # from a network for measurements, which nobody routes
_RESOLV = Path("/etc/resolv.conf")
_UPSTREAM = Path("/run/systemd/resolve/resolv.conf")
_ALONE = 'mount -t tmpfs -o mode=755,size=16k tun /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")


@dataclass(frozen=True, slots=True)
class Resolver:
    """The resolv.conf for cells. `forward`: the host's own resolver listens on its loopback, so pasta carries
    questions there from an address that stands for it."""

    text: str
    forward: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What of the outside there is for cells, as the machine is now: why there is nothing, which networks
    stay closed, who resolves names."""

    why_not: str | None
    closed: tuple[str, ...]
    resolver: Resolver


class Lookout:
    """Watches the machine: addresses come and go with cables, tunnels and containers. Looks at most once a
    second; a pasta that failed is not asked again for a minute."""

    def __init__(self) -> None:
        self._seen: Outlook | None = None
        self._seen_at = self._failed_at = -math.inf
        self._trouble: str | None = None

    def now(self) -> Outlook:
        """As things are."""
        at = time.monotonic()
        if self._seen is None or at - self._seen_at > LOOK_EVERY_S:
            why_not = missing() or (self._trouble if at - self._failed_at < RETRY_AFTER_S else None)
            self._seen = Outlook(why_not, tuple(closed()), resolver())
            self._seen_at = at
        return self._seen

    def failed(self, trouble: str) -> None:
        """Note what pasta said when it did not work."""
        self._trouble, self._failed_at = trouble, time.monotonic()
        self._seen = None


def missing() -> str | None:
    """Why cells have no way out here, with what to do; None where they have one."""
    if shutil.which("pasta") is None:
        return "pasta is not installed; install it with: apt-get install passt"
    if not TUN.exists():
        return "/dev/net/tun is missing; run: modprobe tun (docker: --device /dev/net/tun)"
    if not slots.needs_slot() and not os.access(TUN, os.R_OK | os.W_OK):
        return "/dev/net/tun is closed to ordinary users; run: chmod 0666 /dev/net/tun"
    return None


def marked(mark: str) -> str:
    """A word in the command line of every pasta of a server. It takes no more than a domain to search, which
    nobody asks it for."""
    return f"--search={mark}"


def command(*, slot: Slot | None, setpriv: str, user: int, net: int, forward: bool, mark: str) -> list[str]:
    """pasta as the user who owns the cell's namespaces; it ends with us. Where the device is closed to it, it
    gets one of its own in a mount namespace of its own, made by root before root is left behind."""
    words = ["-f", "-q", "--config-net", "--no-map-gw", marked(mark), *HARDENED]
    words += ["--dns-forward", DNS_FORWARD] if forward else []
    words += ["--userns", f"/proc/self/fd/{user}", "--netns", f"/proc/self/fd/{net}"]
    pasta = [shutil.which("pasta") or "pasta", *words]
    if slot is None:
        return [setpriv, "--pdeathsig=KILL", "--", *pasta] if setpriv else pasta
    who = str(slot.uid)
    rights = [f"--reuid={who}", f"--regid={who}", "--clear-groups"]
    dropped = [setpriv, "--pdeathsig=KILL", *rights, "--", *pasta]
    if _is_open_to_all(TUN):
        return dropped
    alone = [shutil.which("unshare") or "unshare", "--mount", "--propagation=private", "--"]
    return [*alone, "/bin/sh", "-c", _ALONE, "sh", *dropped]


def closed() -> list[str]:
    """Networks that no cell reaches: metadata services and every address of this machine."""
    return [*METADATA, *(f"{ip}/{32 if ip.version == 4 else 128}" for ip in own_addresses())]


def is_closed(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a cell with a way out does not reach it all the same."""
    if ip.is_loopback or ip.is_unspecified or ip in own_addresses():
        return True
    return any(ip in ipaddress.ip_network(network) for network in METADATA)


def own_addresses() -> "list[ipaddress.IPv4Address | ipaddress.IPv6Address]":
    """The machine's addresses as they are now, loopback apart."""
    return [ip for ip in _addresses() if not ip.is_loopback]


def resolver() -> Resolver:
    """The host's, if a cell can reach it; where it is a stub of systemd, those behind it."""
    for place in (_RESOLV, _UPSTREAM):
        text = _text(place)
        servers = [line.split()[1] for line in text.splitlines() if re.match(r"nameserver\s+\S", line)]
        if servers and not all(_is_here(server) for server in servers):
            return Resolver(text)
    others = [line for line in _text(_RESOLV).splitlines() if not line.startswith("nameserver")]
    return Resolver("\n".join([*others, f"nameserver {DNS_FORWARD}", ""]), forward=True)


def _is_here(server: str) -> bool:
    try:
        return is_closed(ipaddress.ip_address(server.partition("%")[0]))
    except ValueError:
        return True


def _addresses() -> "Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]":
    for found in dict.fromkeys(_LOCAL.findall(_text(Path("/proc/net/fib_trie")))):
        yield ipaddress.IPv4Address(found)
    for line in _text(Path("/proc/net/if_inet6")).splitlines():
        yield ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))


def _is_open_to_all(path: Path) -> bool:
    wanted = stat.S_IROTH | stat.S_IWOTH
    return path.stat().st_mode & wanted == wanted


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
