# SPDX-License-Identifier: Apache-2.0
"""What a run reaches on the network.

    none     nothing, but for the platform at 127.0.0.1:9002 and what `allow` names
    egress   the outside; neither this machine nor the cloud's metadata service, unless `allow` names it
    host     all that the machine itself reaches, and its own services: for tasks that admins trust

`allow` holds exact pairs host:port. The platform forwards to them whatever the mode, also to its machine's
own loopback, where a mail or test server may listen.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from longshore.domain.errors import Invalid

MOST_ALLOWED = 32
RESERVED_PORTS = frozenset({9001, 9002})
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class NetworkMode(StrEnum):
    """How far a run reaches."""

    NONE = "none"
    EGRESS = "egress"
    HOST = "host"


Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_close(ip: Ip) -> bool:
    """Whether an IP is of the machine's own loopback or link, however it is written."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host (a name, or an IP without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ip(self) -> Ip | None:
        """The host as a number; None for a name other than localhost."""
        if self.host == "localhost":
            return ipaddress.IPv4Address("127.0.0.1")
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_close(self) -> bool:
        """Whether it is the machine's own loopback or its link, where a cloud's metadata are, too."""
        return self.ip is not None and is_close(self.ip)

    @property
    def is_loopback(self) -> bool:
        """Whether it is the machine's own loopback."""
        return self.ip is not None and self.ip.is_loopback


@dataclass(frozen=True, slots=True)
class Network:
    """A mode and what is allowed beside it."""

    mode: NetworkMode = NetworkMode.EGRESS
    allow: tuple[Address, ...] = ()


def address(text: str) -> Address:
    """`host:port` taken apart; raises Invalid with what would be right."""
    host, _, digits = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    if not 0 < port < 65536 or not _is_host(host, bracketed=bracketed):
        raise Invalid(
            f"{text[:80]!r} cannot be allowed: it takes host:port, such as mail.example.com:25,"
            " 127.0.0.1:1025 or [::1]:1025",
            field="allow",
        )
    found = Address(_plain(host), port)
    if found.is_loopback and port in RESERVED_PORTS:
        raise Invalid(
            f"{text} is the platform's own door in every sandbox; allow another port", field="allow"
        )
    return found


def checked_allow(texts: Sequence[str]) -> tuple[str, ...]:
    """The pairs as they are kept, each once; raises Invalid for the first that cannot be."""
    found = tuple(dict.fromkeys(str(address(text)) for text in texts))
    if len(found) > MOST_ALLOWED:
        raise Invalid(f"{len(found)} addresses are allowed; at most {MOST_ALLOWED} can be", field="allow")
    return found


def _is_host(host: str, *, bracketed: bool) -> bool:
    if bracketed or ":" in host:
        return bracketed and _is_ip(host, 6) and "%" not in host
    if re.fullmatch(r"[0-9.]+", host):
        return _is_ip(host, 4) and host != "0.0.0.0"  # noqa: S104  (refused, not bound)
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def _plain(host: str) -> str:
    return str(ipaddress.ip_address(host)) if ":" in host else host.lower()
