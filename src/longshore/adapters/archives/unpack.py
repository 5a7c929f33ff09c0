# SPDX-License-Identifier: Apache-2.0
"""From an archive to a directory, all at once or not at all.

.<name>.<random>/   files, then links, then bytecode, then modes   ->   rename   ->   <name>/
"""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread

from longshore.adapters.archives.check import opened
from longshore.adapters.archives.content import link_target, pieces
from longshore.adapters.archives.directory import Stored
from longshore.domain.archive import EntryKind, parents
from longshore.domain.errors import Conflict, OutOfSpace, Unavailable

COMPILE_TIMEOUT_S = 300
# The limits are set by the interpreter itself: the sources are a stranger's, and 2 GB and five minutes of
# CPU are more than an honest package needs. Paths in tracebacks are those that the sandbox will have.
_COMPILE = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
root = sys.argv[1]
sys.argv = ["compileall", "-qq", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/var/task", root]
runpy.run_module("compileall", run_name="__main__")
"""


async def unpack(path: Path, into: Path, *, compile_with: Sequence[str] | None = None) -> None:
    """Unpack in a thread; see `ports.packages`. A cancelled caller waits for its end."""
    await anyio.to_thread.run_sync(_unpack, path, into, compile_with)


def _unpack(path: Path, into: Path, compile_with: Sequence[str] | None) -> None:
    try:
        _unpack_beside(path, into, compile_with)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"the disk of {into.parent} is full; the package was not unpacked") from error
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and os.path.lexists(into):
            raise Conflict(f"{into} is there already; it was left as it is") from error
        raise Unavailable(f"the package could not be unpacked into {into}: {error}") from error


def _unpack_beside(path: Path, into: Path, compile_with: Sequence[str] | None) -> None:
    if os.path.lexists(into):
        raise Conflict(f"{into} is there already; it was left as it is")
    fresh = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        with path.open("rb") as file:
            _fill(fresh, file)
        if compile_with:
            _compile(fresh, compile_with)
        fresh.chmod(0o755)
        fresh.rename(into)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _fill(root: Path, file: BinaryIO) -> None:
    """Links come last: while files are written the tree has none, so no name can lead anywhere else."""
    stored, _ = opened(file)
    _make_directories(root, stored)
    for one in stored:
        if one.entry.kind is EntryKind.FILE:
            _write(root / one.entry.name, file, one)
    for one in stored:
        if one.entry.kind is EntryKind.LINK:
            (root / one.entry.name).symlink_to(link_target(file, one))


def _make_directories(root: Path, stored: Sequence[Stored]) -> None:
    needed = {parent for one in stored for parent in parents(one.entry.name)}
    needed.update(one.entry.name for one in stored if one.entry.kind is EntryKind.DIRECTORY)
    for name in sorted(needed):
        (root / name).mkdir()
        (root / name).chmod(0o755)


def _write(target: Path, file: BinaryIO, one: Stored) -> None:
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(number, "wb", buffering=0) as out:
        for piece in pieces(file, one):
            _write_all(out.fileno(), piece)
        os.fchmod(number, 0o755 if one.entry.executable else 0o644)
        os.utime(number, (one.modified_at, one.modified_at))


def _write_all(number: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(number, view) :]


def _compile(root: Path, interpreter: Sequence[str]) -> None:
    """Write bytecode that is never checked against its source: the tree will not change again.

    An interpreter that fails or takes too long costs a slower start, not the package: whatever it has
    written by then is whole, since compileall replaces files atomically.
    """
    command = [*interpreter, "-I", "-c", _COMPILE, str(root)]
    try:
        subprocess.run(
            command,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
