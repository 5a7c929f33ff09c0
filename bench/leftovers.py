# SPDX-License-Identifier: Apache-2.0
"""What a server has on its machine right now, and what is still there once it has ended.

Whoever watches a server this way is made the one that orphans go to: what the server's handlers have left
running is found among its own children, whatever name, group or session it gave itself.
"""

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Have what is orphaned below us become our child and not init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def bury_orphans(patience_s: float = 2.0) -> None:
    """Do what init does with the dead that come to it; those who are about to die have a moment."""
    by = time.monotonic() + patience_s
    while time.monotonic() < by:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A living server, counted. Memory is its own; its children are sandboxes, and the networks of some."""

    memory_mb: float
    files: int
    threads: int
    processes: int
    children: int
    groups: int
    zombies: int
    temporary: int


def standing(pid: int, data: Path, temporary: Path) -> Standing:
    """Count what a server has; `data` is its directory, `temporary` its TMPDIR."""
    status = Path(f"/proc/{pid}/status").read_text()
    below = list(descendants(pid))
    return Standing(
        memory_mb=_number(status, "RssAnon:") / 1024,
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=_number(status, "Threads:"),
        processes=len(below),
        children=len(list(_children(pid))),
        groups=sum(len(list(place.glob("*/"))) for place in groups_of(data)),
        zombies=sum(_state(one) == "Z" for one in below),
        temporary=len(temporary_files(data, temporary)),
    )


def descendants(pid: int) -> Iterator[int]:
    """Everybody below a process."""
    for child in _children(pid):
        yield child
        yield from descendants(child)


def _children(pid: int) -> Iterator[int]:
    for thread in _listed(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
            yield from map(int, words)


def groups_of(data: Path) -> list[Path]:
    """The directories of control groups, one a tree, that servers over a data directory have made."""
    lists = (data / "cache" / "sandbox").glob("*/groups")
    return [Path(line) for one in lists for line in one.read_text().splitlines()]


def temporary_files(data: Path, temporary: Path) -> list[Path]:
    """Files on their way somewhere: uploads, packages and inputs being fetched, and all of TMPDIR."""
    places = (data / "state" / "blobs" / "incoming", data / "cache" / "incoming", temporary)
    return [path for place in places for path in place.rglob("*")]


def left_behind(data: Path, temporary: Path, groups: Sequence[Path]) -> list[str]:
    """A line for everything that is still there of servers that have ended; `groups` were theirs."""
    bury_orphans()
    lines = [f"process {one}: {_command(one)}" for one in descendants(os.getpid())]
    lines += [f"control group {path}" for path in groups if path.exists()]
    lines += [f"mount {line.split()[1]}" for line in _lines("/proc/self/mounts") if str(data) in line]
    lines += [f"socket {line}" for line in _lines("/proc/net/unix") if str(data) in line]
    lines += [f"file {path}" for path in temporary_files(data, temporary)]
    lines += [f"directory {path}" for path in (data / "cache" / "sandbox").iterdir()]
    return lines


def _number(status: str, name: str) -> int:
    return int(status.partition(name)[2].split()[0])


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return words.strip() or Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()


def _listed(path: Path | str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(path)
    return []
