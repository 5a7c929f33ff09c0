# SPDX-License-Identifier: Apache-2.0
"""Host users for cells: when we are root, each live cell has a user of its own that owns nothing.

bubblewrap that is started by root leaves the whole host open to the cell, because the cell's user is then the
host's root in all but name. So a cell's processes leave root behind before anything else happens.
"""

import contextlib
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from longshore.domain.errors import Unavailable
from longshore.ports.sandbox import CellSpec

FIRST_UID = 0x7000_0000  # from here to 0x7fffffff nobody hands out users (systemd's table of ranges)
MOST = 4096


@dataclass(frozen=True, slots=True)
class Slot:
    """A user of the host for one cell. The lock is an abstract socket: it ends with us, however we end."""

    uid: int
    lock: socket.socket

    def give_back(self) -> None:
        """Let another cell have it."""
        self.lock.close()


def needs_slot() -> bool:
    """Whether cells must change their user before they begin."""
    return os.geteuid() == 0


def take() -> Slot | None:
    """A free user; None where we are an ordinary user, who cannot be anybody else."""
    if not needs_slot():
        return None
    for uid in _candidates():
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0longshore-cell-{uid}")
        except OSError:
            lock.close()
            continue
        return Slot(uid, lock)
    raise Unavailable(f"all {MOST} users for sandboxes are taken; run fewer handlers at once")


def drop(slot: Slot | None, setpriv: str) -> list[str]:
    """The words before a command that make it that user's. Refuses to leave anything to root."""
    if slot is None:
        if needs_slot():
            raise Unavailable("a sandbox must not be started by root without a user of its own")
        return []
    who = str(slot.uid)
    return [setpriv, f"--reuid={who}", f"--regid={who}", "--clear-groups", "--"]


def reachable(path: Path) -> None:
    """Whether a cell's user can get to a directory; Unavailable with the command that opens the way."""
    if not path.exists():
        raise Unavailable(f"{path} is not there (any more); a sandbox should have held it")
    if not needs_slot():
        return
    for place in [path, *path.parents]:
        if not place.stat().st_mode & stat.S_IXOTH:
            raise Unavailable(
                f"sandboxes run as users of their own and cannot pass through {place}; "
                f"choose a data directory that everybody may pass through, such as /var/lib/longshore, "
                f"or run: chmod o+x {place}"
            )


def within_reach(spec: CellSpec) -> CellSpec:
    """The specification with real paths, every one of which the cell's user can get to."""
    real = replace(
        spec,
        runtime_root=spec.runtime_root.resolve() if spec.runtime_root is not None else None,
        runtime_dir=spec.runtime_dir.resolve(),
        package_dir=spec.package_dir.resolve() if spec.package_dir is not None else None,
        inputs={name: file.resolve() for name, file in spec.inputs.items()},
    )
    for place in (real.runtime_dir, real.package_dir, real.runtime_root):
        if place is not None:
            reachable(place)
    for file in real.inputs.values():
        reachable(file.parent)
    return real


def _candidates() -> Iterator[int]:
    mapped = _mapped()
    for uid in range(FIRST_UID, FIRST_UID + MOST):
        if any(uid in some for some in mapped):
            yield uid
    for uid in range(64_000, 61_000, -1):  # in a container with few users; below systemd's dynamic ones
        if any(uid in some for some in mapped) and not _is_known(uid):
            yield uid


def _mapped() -> list[range]:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    return [range(first, first + count) for first, _, count in rows]


def _is_known(uid: int) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwuid(uid))
    return False
