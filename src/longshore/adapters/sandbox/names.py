# SPDX-License-Identifier: Apache-2.0
"""How a cell finds hosts by name: its hosts and resolv.conf, where they are not those of every cell."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import egress
from longshore.adapters.sandbox.rooms import HOSTS
from longshore.adapters.sandbox.wires import Wiring
from longshore.domain.network import Network, NetworkMode


@dataclass(frozen=True, slots=True)
class Names:
    """Files of /etc by name, some of them in a directory of the cell's own."""

    at: Path
    mounts: Mapping[str, Path]

    def remove(self) -> None:
        """Remove the directory, if there is one."""
        shutil.rmtree(self.at, ignore_errors=True)


def written(at: Path, network: Network, wiring: Wiring) -> Names:
    """Write what this cell needs; most need nothing."""
    if network.mode is NetworkMode.HOST:
        theirs = {name: Path("/etc", name) for name in ("hosts", "resolv.conf")}
        return Names(at, {name: place.resolve() for name, place in theirs.items() if place.exists()})
    texts = {"hosts": HOSTS + wiring.hosts} if wiring.names else {}
    if wiring.egress:
        texts["resolv.conf"] = egress.resolver().text
    if texts:
        at.mkdir(mode=0o711)
        at.chmod(0o711)
    for name, text in texts.items():
        (at / name).write_text(text, encoding="utf-8")
        (at / name).chmod(0o644)
    return Names(at, {name: at / name for name in texts})
