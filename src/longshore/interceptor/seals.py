# SPDX-License-Identifier: Apache-2.0
"""Seals on unpacked packages: whether a tree is still what was unpacked, byte for byte.

A tree that is renamed into place may lose its bytes with the machine's power, and disks rot. Its seal is one
digest over every name, mode and content in it, bytecode included.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1024 * 1024


def seal(tree: Path) -> str:
    """The seal of a directory as it is now. It reads everything: half a gigabyte a second or more."""
    seen = hashlib.sha256()
    for name, path in sorted(_entries(tree)):
        found = path.lstat()
        seen.update(b"%s\0%o\0%d\0" % (os.fsencode(name), found.st_mode, found.st_size))
        if stat.S_ISLNK(found.st_mode):
            seen.update(os.fsencode(os.readlink(path)))
        elif stat.S_ISREG(found.st_mode):
            with path.open("rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    seen.update(piece)
    return seen.hexdigest()


def keep(place: Path, text: str) -> None:
    """Write a seal so that it is there whole or not at all."""
    fresh = place.with_name(f".{place.name}.fresh")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(place)


def holds(tree: Path, place: Path) -> bool:
    """Whether a tree has the seal that was kept for it; what cannot be read, or was never sealed, has not."""
    try:
        return place.read_text(encoding="ascii") == seal(tree)
    except OSError:
        return False


def _entries(tree: Path) -> Iterator[tuple[str, Path]]:
    for directory, inside, files in os.walk(tree):
        for name in (*inside, *files):
            path = Path(directory, name)
            yield str(path.relative_to(tree)), path
