# SPDX-License-Identifier: Apache-2.0
"""The CPythons that this machine has, 3.7 to 3.14, wherever people put them.

    PATH · /usr/bin · /usr/local/bin · ~/.pyenv/versions · uv's own · /opt/*/bin    ->  one a version

Of several with one version the newest patch release wins; Longshore's own interpreter wins over its equals.
"""

import asyncio
import glob
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 7), (3, 14)
ASK_TIMEOUT_S = 10
_NAME = re.compile(r"python3\.\d{1,2}")
_ASK = """
import json, sys
print(json.dumps([sys.implementation.name, list(sys.version_info[:3]), sys.version, sys.base_prefix,
                  bool(getattr(sys, "_is_gil_enabled", lambda: True)())]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """An interpreter outside any virtual environment. `base` is its prefix: `<base>/bin`, `<base>/lib`."""

    version: tuple[int, int, int]
    base: Path
    build: str

    @property
    def id(self) -> str:
        """Its Lambda runtime id, such as `python3.12`."""
        return f"python{self.version[0]}.{self.version[1]}"

    @property
    def executable(self) -> Path:
        """The interpreter's file on this machine."""
        return self.base / "bin" / self.id


def own() -> Python:
    """The interpreter that runs Longshore."""
    major, minor, patch = sys.version_info[:3]
    return Python(version=(major, minor, patch), base=Path(sys.base_prefix).resolve(), build=sys.version)


async def discover() -> tuple[Python, ...]:
    """One interpreter a version, oldest version first. Asks each candidate, some 20 ms each, side by side."""
    candidates = sorted(set(_real(_candidates())))
    found = await asyncio.gather(*(asyncio.to_thread(ask, path) for path in candidates))
    best: dict[tuple[int, int], Python] = {}
    for python in [own(), *(one for one in found if one is not None)]:
        known = best.get(python.version[:2])
        if known is None or python.version > known.version:
            best[python.version[:2]] = python
    return tuple(best[version] for version in sorted(best))


def ask(path: Path) -> Python | None:
    """What an interpreter says of itself; None for what is no CPython that we can use."""
    try:
        done = subprocess.run(
            [str(path), "-I", "-S", "-c", _ASK],
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            env={},
            stdin=subprocess.DEVNULL,
            check=True,
        )
        name, version, build, base, with_gil = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    major, minor, patch = version
    usable = name == "cpython" and with_gil and OLDEST <= (major, minor) <= NEWEST
    python = Python(version=(major, minor, patch), base=Path(base).resolve(), build=build)
    return python if usable and python.executable.exists() else None


def _candidates() -> Iterator[Path]:
    home = Path.home()
    share = os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share")
    pyenv = os.environ.get("PYENV_ROOT") or str(home / ".pyenv")
    directories = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for pattern in (f"{pyenv}/versions/*/bin", f"{share}/uv/python/*/bin", "/opt/*/bin", "/opt/python/*/bin"):
        directories += glob.glob(pattern)
    for directory in filter(None, directories):
        for path in glob.glob(f"{glob.escape(directory)}/python3.*"):
            if _NAME.fullmatch(Path(path).name):
                yield Path(path)


def _real(paths: Iterable[Path]) -> Iterator[Path]:
    """Where they lead, so that one interpreter is asked once. A pyenv shim is a script of many versions."""
    for path in paths:
        if "shims" not in path.parts:
            yield path.resolve()
