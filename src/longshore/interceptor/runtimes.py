# SPDX-License-Identifier: Apache-2.0
"""The Python that handlers run on, prepared once a machine: interpreter, official runtime client, boto3.

    <home>/python3.11-<key>/lang      a copy of the interpreter, where its own home is closed to sandbox users
    <home>/python3.11-<key>/runtime   awslambdaric and boto3, compiled; mounted at /var/runtime

Prepared in a temporary directory and renamed, so that a start that was killed leaves nothing half-made.
"""

import asyncio
import hashlib
import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from longshore.domain.errors import Unavailable
from longshore.domain.runtime import Runtime, stands_in

CLIENTS = ("awslambdaric", "boto3")
LEFT_OUT = shutil.ignore_patterns(
    "test", "tests", "site-packages", "config-*", "idlelib", "turtledemo", "ensurepip", "*.a", "dist-packages"
)
INSIDE = "/var/lang"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRuntime:
    """A Python ready to be mounted. `root` goes to /var/lang; None where it lives in /usr, mounted anyway."""

    id: str
    root: Path | None
    python: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Runtimes:
    """What this machine has: for now, the CPython that runs Longshore."""

    prepared: PreparedRuntime

    @property
    def ids(self) -> tuple[str, ...]:
        """The runtimes to offer."""
        return (self.prepared.id,)

    def choose(self, wanted: Runtime) -> tuple[PreparedRuntime, str | None]:
        """The runtime to use, and a sentence when it is not quite the one that was asked for."""
        return self.prepared, stands_in(wanted, self.prepared.id)


async def prepare(home: Path) -> Runtimes:
    """The machine's runtimes, prepared below `home` if they are not yet (some seconds, once)."""
    return Runtimes(await asyncio.to_thread(_prepare, home))


def _prepare(home: Path) -> PreparedRuntime:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = Path(sys.base_prefix).resolve()
    target = home / f"{version}-{_key(base)}"
    home.mkdir(parents=True, exist_ok=True, mode=0o755)
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=home))
        try:
            _make(draft, base)
            draft.chmod(0o755)
            draft.rename(target)
        except OSError:
            if not target.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    in_usr = base.is_relative_to("/usr")
    copied = target / "lang"
    root = None if in_usr else (copied if copied.exists() else base)
    python = f"{base}/bin/{version}" if in_usr else f"{INSIDE}/bin/{version}"
    return PreparedRuntime(id=version, root=root, python=python, directory=target / "runtime")


def _key(base: Path) -> str:
    versions = [f"{name}={importlib.metadata.version(name)}" for name in CLIENTS]
    return hashlib.sha256(repr((str(base), sys.version, versions)).encode()).hexdigest()[:12]


def _make(draft: Path, base: Path) -> None:
    if not base.is_relative_to("/usr") and not open_to_all(base):
        _copy_interpreter(base, draft / "lang")
    runtime = draft / "runtime"
    runtime.mkdir(mode=0o755)
    for name in sorted(_with_requirements(CLIENTS)):
        _copy_distribution(name, runtime)
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(runtime)],
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    _open(draft)


def open_to_all(path: Path) -> bool:
    """Whether any user may reach and read a directory."""
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def _copy_interpreter(base: Path, to: Path) -> None:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (to / "bin").mkdir(parents=True)
    (to / "lib").mkdir()
    shutil.copy2((base / "bin" / version).resolve(), to / "bin" / version)
    for name in ("python3", "python"):
        (to / "bin" / name).symlink_to(version)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(library, to / "lib" / library.name, follow_symlinks=False)
    shutil.copytree(base / "lib" / version, to / "lib" / version, ignore=LEFT_OUT, symlinks=True)


def _with_requirements(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        for text in importlib.metadata.requires(name) or []:
            requirement, _, marker = text.partition(";")
            if "extra" in marker:
                continue
            bare = requirement.strip()
            for character in "<>=!~ ([":
                bare = bare.split(character)[0]
            try:
                importlib.metadata.version(bare)
            except importlib.metadata.PackageNotFoundError:
                continue
            waiting.append(bare)
    return found


def _copy_distribution(name: str, to: Path) -> None:
    distribution = importlib.metadata.distribution(name)
    files = distribution.files
    if files is None:
        raise Unavailable(
            f"{name} is installed without a list of its files; reinstall Longshore in a fresh environment"
        )
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        source = Path(str(distribution.locate_file(file)))
        target = to / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _open(draft: Path) -> None:
    for directory, _, files in os.walk(draft):
        os.chmod(directory, 0o755)
        for file in files:
            path = Path(directory, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
