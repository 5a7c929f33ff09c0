# SPDX-License-Identifier: Apache-2.0
"""A server's own directory, for as long as it lives, and what is left of servers that do not live any more.

<directory>/<server>/lock        held while the server lives; the kernel lets go of it, whatever happens
                    /groups      control groups that cells are in
                    /bootstrap   launcher and friends, readable for every cell
                    /etc         the little of /etc that cells see
                    /filter      the seccomp program
                    /cells       directories of cells: their /var, or all they have without mounts
                    /copies      spare trees of packages, hard links into the cache
"""

import contextlib
import errno
import fcntl
import importlib.resources
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longshore.adapters.sandbox import claims, kin
from longshore.adapters.sandbox.cgroups import Groups, kill_all, sweep_all
from longshore.adapters.sandbox.cgroups_found import open_groups
from longshore.adapters.sandbox.egress import marked
from longshore.adapters.sandbox.rooms import write_etc
from longshore.adapters.sandbox.seccomp import program, this_machine
from longshore.adapters.sandbox.slots import reachable
from longshore.domain.errors import OutOfSpace, Unavailable

CLAIM_TRIES = 5
BOOTSTRAP = ("launcher.py", "python.py")


@dataclass(slots=True)
class Home:
    """The directory of a living server. `groups` is where its cells' control groups are."""

    at: Path
    groups: Groups
    _claims: Sequence[int]
    _lock: int
    _count: int = field(default=0)

    @property
    def bootstrap(self) -> Path:
        """What goes into every cell."""
        return self.at / "bootstrap"

    @property
    def etc(self) -> Path:
        """The cells' /etc."""
        return self.at / "etc"

    @property
    def filter(self) -> Path:
        """The seccomp program; empty where we know no numbers for this architecture."""
        return self.at / "filter"

    @property
    def cells(self) -> Path:
        """Directories of cells."""
        return self.at / "cells"

    @property
    def copies(self) -> Path:
        """Spare trees of packages."""
        return self.at / "copies"

    def next_name(self) -> str:
        """A name for a cell."""
        self._count += 1
        return f"cell-{self._count}"

    def close(self) -> None:
        """Remove every trace. May be called again."""
        if self._lock < 0:
            return
        self.groups.close()
        claims.let_go(self._claims)
        remove_tree(self.at)
        os.close(self._lock)
        self._lock = -1


def remove_tree(path: Path) -> None:
    """Remove a directory, also one whose modes a handler has closed. What resists stays for next time."""

    def opened(remove: Callable[[str], object], where: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(where), 0o700)
            if remove in (os.unlink, os.rmdir):
                remove(where)
            else:
                os.chmod(where, 0o700)
                shutil.rmtree(where, ignore_errors=True)

    shutil.rmtree(path, onerror=opened)


def open_home(directory: Path) -> Home:
    """Clean up after the dead, then settle down. Servers that share a directory wait for one another here."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        directory.chmod(0o711)
        reachable(directory.resolve())
        with _alone(directory):
            for other in directory.resolve().iterdir():
                if other.is_dir():
                    _remove_if_dead(other)
            return _settle(directory.resolve() / f"longshore-{secrets.token_hex(6)}")
    except OSError as error:
        kind = OutOfSpace if error.errno == errno.ENOSPC else Unavailable
        raise kind(f"{directory} cannot hold sandboxes: {error}") from error


def _settle(at: Path) -> Home:
    at.mkdir(mode=0o711)
    lock = os.open(at / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    groups, claimed = _groups()
    try:
        (at / "groups").write_text("".join(f"{place}\n" for place in groups.places), encoding="utf-8")
        (at / "cells").mkdir(mode=0o711)
        (at / "copies").mkdir(mode=0o700)
        (at / "bootstrap").mkdir(mode=0o755)
        for name in BOOTSTRAP:
            source = importlib.resources.files("longshore.runtime_api.bootstrap").joinpath(name)
            _write(at / "bootstrap" / name, source.read_bytes())
        machine = this_machine()
        _write(at / "filter", program(machine) if machine else b"")
        write_etc(at / "etc")
        for path in (at, at / "cells", at / "bootstrap"):
            path.chmod(0o755 if path.name == "bootstrap" else 0o711)
    except BaseException:
        groups.close()
        claims.let_go(claimed)
        os.close(lock)
        remove_tree(at)
        raise
    return Home(at, groups, claimed, lock)


def _groups() -> tuple[Groups, Sequence[int]]:
    """Our own, held, and nobody's beside them. Another server that is starting may have taken them for left
    over in between."""
    for _ in range(CLAIM_TRIES):
        groups = open_groups(f"{claims.PREFIX}{secrets.token_hex(6)}")
        with contextlib.suppress(FileNotFoundError):
            claimed = claims.claim(groups.places)
            claims.sweep_unclaimed({place.parent for place in groups.places})
            return groups, claimed
        groups.close()
    raise Unavailable("the sandboxes' control groups are removed by somebody as soon as they are made")


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _remove_if_dead(home: Path) -> None:
    """The order matters: its processes first, then the list of where they are. A bwrap that lost its server
    in its first milliseconds may be in no group and below nobody; but it names what it was to mount."""
    try:
        lock = os.open(home / "lock", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        remove_tree(home)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kill_all([one for pid in kin.naming(f"{home}/bootstrap") for one in kin.descendants(pid)])
        kill_all(kin.naming(marked(home.name)))
        with contextlib.suppress(FileNotFoundError):
            lines = (home / "groups").read_text(encoding="utf-8").splitlines()
            sweep_all(Path(line) for line in lines)
        remove_tree(home)
    except BlockingIOError:
        return
    finally:
        os.close(lock)
