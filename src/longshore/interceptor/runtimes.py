# SPDX-License-Identifier: Apache-2.0
"""The Pythons that handlers run on, prepared once a machine: interpreter, official runtime client, boto3.

    <home>/python3.11-<key>/lang      a copy of the interpreter, where its own home is closed to sandbox users
    <home>/python3.11-<key>/runtime   awslambdaric and boto3, compiled; mounted at /var/runtime

Longshore's own Python is prepared at the start from what is installed beside it; another one when the first
run asks for it, or by `longshore runtime prepare`, with the newest clients that PyPI has for it. Prepared in
a temporary directory and renamed, so that a start that was killed leaves nothing half-made.
"""

import asyncio
import hashlib
import importlib.metadata
import os
import shutil
import stat
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uv

from longshore.domain.errors import Unavailable
from longshore.domain.runtime import Runtime, nearest, stands_in
from longshore.interceptor.pythons import Python, discover, own

CLIENTS = ("awslambdaric", "boto3")
LEFT_OUT = shutil.ignore_patterns(
    "test", "tests", "site-packages", "config-*", "idlelib", "turtledemo", "ensurepip", "*.a", "dist-packages"
)
INSIDE = "/var/lang"
INSTALL_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRuntime:
    """A Python ready to be mounted. `root` goes to /var/lang; None where it lives in /usr, mounted anyway."""

    id: str
    root: Path | None
    python: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Runtimes:
    """What this machine has, by id."""

    home: Path
    pythons: Mapping[str, Python]
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _ready: dict[str, PreparedRuntime] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The runtimes to offer, oldest first."""
        return tuple(self.pythons)

    def is_prepared(self, id_: str) -> bool:
        """Whether a run of it starts at once."""
        return _place(self.home, self.pythons[id_]).exists()

    def stand_in(self, wanted: Runtime) -> tuple[str, str | None]:
        """The id to use for a runtime, and a sentence when it is not quite the one that was asked for."""
        versions = {python.version[:2]: python.id for python in self.pythons.values()}
        present = versions[nearest(wanted.version, versions) or own().version[:2]]
        return present, stands_in(wanted, present)

    async def prepared(self, id_: str) -> PreparedRuntime:
        """A runtime ready to be mounted, prepared now if it is not yet; raises Unavailable saying why not."""
        ready = self._ready.get(id_)
        if ready is None or not ready.directory.exists():
            async with self._locks[id_]:
                ready = await asyncio.to_thread(_prepare, self.home, self.pythons[id_])
            self._ready[id_] = ready
        return ready


async def look(home: Path) -> Runtimes:
    """The machine's runtimes, as they stand below `home`."""
    return Runtimes(home, {python.id: python for python in await discover()})


async def prepare(home: Path) -> Runtimes:
    """The machine's runtimes, Longshore's own Python prepared below `home` (some seconds, once)."""
    runtimes = await look(home)
    await runtimes.prepared(own().id)
    return runtimes


def _place(home: Path, python: Python) -> Path:
    return home / f"{python.id}-{_key(python)}"


def _prepare(home: Path, python: Python) -> PreparedRuntime:
    target = _place(home, python)
    home.mkdir(parents=True, exist_ok=True, mode=0o755)
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=f".{python.id}-", dir=home))
        try:
            _make(draft, python)
            draft.chmod(0o755)
            draft.rename(target)
        except OSError:
            if not target.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    in_usr = python.base.is_relative_to("/usr")
    copied = target / "lang"
    root = None if in_usr else (copied if copied.exists() else python.base)
    inside = str(python.executable) if in_usr else f"{INSIDE}/bin/{python.id}"
    return PreparedRuntime(id=python.id, root=root, python=inside, directory=target / "runtime")


def _key(python: Python) -> str:
    """Changes with the interpreter's build, and for our own Python with the clients beside us."""
    clients = [f"{name}={importlib.metadata.version(name)}" for name in CLIENTS] if python == own() else []
    return hashlib.sha256(repr((str(python.base), python.build, clients)).encode()).hexdigest()[:12]


def _make(draft: Path, python: Python) -> None:
    if not python.base.is_relative_to("/usr") and not open_to_all(python.base):
        _copy_interpreter(python, draft / "lang")
    runtime = draft / "runtime"
    runtime.mkdir(mode=0o755)
    if python == own():
        for name in sorted(_with_requirements(CLIENTS)):
            _copy_distribution(name, runtime)
    else:
        _install(python, runtime)
    subprocess.run(
        [str(python.executable), "-m", "compileall", "-q", *_unchecked(python), str(runtime)],
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    _open(draft)


def _unchecked(python: Python) -> list[str]:
    return ["--invalidation-mode", "unchecked-hash"] if python.version >= (3, 7, 0) else []


def _install(python: Python, into: Path) -> None:
    """The clients for another Python, from the index that this machine's uv is set up for."""
    command = [uv.find_uv_bin(), "pip", "install", "--no-progress", "--link-mode", "copy", "--quiet"]
    command += ["--python", str(python.executable), "--target", str(into), *CLIENTS]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=INSTALL_TIMEOUT_S, check=False
        )
        said = done.stderr.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"it took more than {INSTALL_TIMEOUT_S} s"
    if said:
        raise Unavailable(
            f"{python.id} could not be prepared on this machine, its runtime client did not install: {said};"
            f" mend that and run: longshore runtime prepare {python.id}"
        )


def open_to_all(path: Path) -> bool:
    """Whether any user may reach and read a directory."""
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def _copy_interpreter(python: Python, to: Path) -> None:
    base, version = python.base, python.id
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
        Path(directory).chmod(0o755)
        for file in files:
            path = Path(directory, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
