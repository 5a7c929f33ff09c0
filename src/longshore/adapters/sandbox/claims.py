# SPDX-License-Identifier: Apache-2.0
"""Whose a server's control groups are: it holds a lock on their directories, and the kernel lets go of that
however the server ends. So what a killed server left there is found also when nothing else of it is left."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from longshore.adapters.sandbox.cgroups import sweep_all

PREFIX = "longshore-cells-"


def claim(places: Iterable[Path]) -> Sequence[int]:
    """Lock them all; close what this returns to let go. Raises FileNotFoundError when somebody took them for
    left over before we had them."""
    held: list[int] = []
    try:
        for place in places:
            held.append(_opened(place))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
            if not os.path.samestat(os.fstat(held[-1]), place.stat()):
                raise FileNotFoundError(f"{place} was removed")
    except OSError:
        let_go(held)
        raise
    return held


def let_go(held: Iterable[int]) -> None:
    """Unlock."""
    for number in held:
        os.close(number)


def sweep_unclaimed(parents: Iterable[Path]) -> None:
    """Kill and remove what nobody holds, in all trees before any is given up on; frozen or not."""
    held: list[int] = []
    try:
        found = [one for parent in parents for one in parent.glob(f"{PREFIX}*/") if _is_free(one, held)]
        sweep_all(found)
    finally:
        let_go(held)


def _is_free(place: Path, held: list[int]) -> bool:
    """Whether it has no owner; it is ours then."""
    with contextlib.suppress(OSError):
        number = _opened(place)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(number)
        else:
            held.append(number)
            return True
    return False


def _opened(place: Path) -> int:
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
