# SPDX-License-Identifier: Apache-2.0
"""Can the libraries of an unpacked package work on the Python that is about to run it?

Their `.dist-info/WHEEL` files say so; only where one does not fit, all file names are read. A package never
changes once it is unpacked, so an answer holds for its digest and Python.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from longshore.domain.archive import MAX_ENTRIES
from longshore.domain.wheel_tags import Target, this_libc
from longshore.domain.wheels import libraries, misfits

_MAX_READ_BYTES = 2 * 1024 * 1024


def mismatch(package_dir: Path, python: tuple[int, int], machine: str) -> str | None:
    """The sentence for a package with a library that cannot work on that Python and machine, else None.

    It reads a small file a library, some milliseconds in all: call it once for a package and Python.
    """
    target = Target(python=python, machine=machine, libc=this_libc())

    def read(name: str) -> bytes | None:
        return _read(package_dir / name)

    wheels = [f"{name}/WHEEL" for name in _listed(package_dir) if name.endswith(".dist-info")]
    if all(one.works_on(target) for one in libraries(wheels, read)):
        return None
    certain = (one for one in misfits(list(_files(package_dir)), read, target) if one.is_certain)
    return next((one.message for one in certain), None)


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _files(root: Path) -> Iterator[str]:
    """The package's files, relative to it; as many as a package may have."""
    left = MAX_ENTRIES
    for directory, _, files in os.walk(root):
        prefix = "" if directory == str(root) else f"{os.path.relpath(directory, root)}/"
        yield from (prefix + name for name in files[:left])
        left -= len(files)
        if left <= 0:
            return


def _read(path: Path) -> bytes | None:
    """A plain file of moderate size; whatever else a stranger's package may have of that name is no file."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_READ_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None
