# SPDX-License-Identifier: Apache-2.0
"""How a cell finds hosts by name: its hosts and resolv.conf, where they are not those of every cell."""

from collections.abc import Mapping
from pathlib import Path

from longshore.adapters.sandbox.rooms import HOSTS
from longshore.adapters.sandbox.wires import Wiring
from longshore.domain.network import Network, NetworkMode


def written(at: Path, network: Network, wiring: Wiring) -> Mapping[str, Path]:
    """Files of /etc by name, written below `at` where they are this cell's own."""
    if network.mode is NetworkMode.HOST:
        theirs = {name: Path("/etc", name) for name in ("hosts", "resolv.conf")}
        return {name: place.resolve() for name, place in theirs.items() if place.exists()}
    texts = {"hosts": HOSTS + wiring.hosts} if wiring.names else {}
    if wiring.outlook is not None and wiring.egress:
        texts["resolv.conf"] = wiring.outlook.resolver.text
    if texts:
        at.mkdir(mode=0o711)
        at.chmod(0o711)
    for name, text in texts.items():
        (at / name).write_text(text, encoding="utf-8")
        (at / name).chmod(0o644)
    return {name: at / name for name in texts}
