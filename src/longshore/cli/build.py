# SPDX-License-Identifier: Apache-2.0
"""`longshore package build`: from a directory and its requirements.txt to a zip, the same bytes every time.

    directory        (own files win)  \\
                                        sorted, dated 1980, two modes  ->  .zip
    requirements.txt -> uv --target   /

The same files and the same resolved libraries give the same sha256, wherever and whenever it is built:
whoever compares digests sees whether a task's code has changed.
"""

import hashlib
import os
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uv

from longshore.domain.archive import (
    DirectorySize,
    Entry,
    EntryKind,
    biggest,
    check_count,
    check_entries,
    check_links,
    shown,
)
from longshore.domain.errors import Invalid
from longshore.domain.wheels import tops_in

REQUIREMENTS = "requirements.txt"
SKIPPED = frozenset(
    {".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea", ".vscode", ".DS_Store", "__pycache__"}
    | {".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
)
_OLDEST = (1980, 1, 1, 0, 0, 0)
_OF_THE_INSTALLER = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
"""Files of a .dist-info that say how and from where it was installed, not what it is."""

Runner = Callable[[Sequence[str], Path], subprocess.CompletedProcess[str]]
"""Runs a command in a directory to its end, with its output as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished package. `size` is the zip's in bytes; `biggest` says which libraries make it so."""

    path: Path
    sha256: str
    size: int
    biggest: tuple[DirectorySize, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A file to read from `path`, or a symbolic link when it has a `target`."""

    path: Path
    mode: int
    size: int
    target: str | None = None

    def entry(self, name: str) -> Entry:
        """As the rules for packages see it."""
        kind = EntryKind.FILE if self.target is None else EntryKind.LINK
        return Entry(name=name, kind=kind, size=self.size)


def run(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """The runner of every day; output without colours, because it may end up in an error's text."""
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def build(
    directory: Path, output: Path, *, python: str | None, platform: str | None = None, runner: Runner = run
) -> Built:
    """Write the package of a directory to `output`, replacing what is there only when it is complete.

    `python` is the version (3.12) or interpreter to choose libraries for, by default the one that runs this;
    `platform` a platform as uv names it (x86_64-unknown-linux-gnu) when it is not this machine's.
    Raises Invalid, BadPackage or PackageTooLarge; the installer's own words are in the text.
    """
    if not directory.is_dir():
        raise Invalid(f"{directory} is not a directory; give the one that has the handler's file in it")
    if not output.parent.is_dir():
        raise Invalid(f"{output.parent} is not a directory; create it, or write the package elsewhere")
    own = _collected(directory, output)
    with tempfile.TemporaryDirectory(prefix="longshore-build-") as fresh:
        installed: dict[str, _Member] = {}
        if (directory / REQUIREMENTS).is_file():
            installed = _installed(directory, Path(fresh), _options(python, platform), runner)
        members = {**installed, **own}
        entries = _checked(members)
        return _written(members, output, biggest(entries))


def _checked(members: Mapping[str, _Member]) -> list[Entry]:
    entries = [member.entry(name) for name, member in members.items()]
    check_entries(entries)
    check_links({name: member.target for name, member in members.items() if member.target is not None})
    return entries


def _collected(directory: Path, output: Path) -> dict[str, _Member]:
    root = directory.resolve()
    members: dict[str, _Member] = {}
    for name, member in _walk(root, "", (root,)):
        if member.path.resolve() != output.resolve():
            members[name] = member
            check_count(len(members))
    return members


def _walk(directory: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, _Member]]:
    """The members below a directory; `above` are the real directories we are in, the package's root first."""
    for path in _listed(directory):
        if _is_skipped(path):
            continue
        name = prefix + path.name
        if path.is_symlink() and _stays_inside(path, above[0]):
            target = os.readlink(path)
            yield (
                name,
                _Member(path=path, mode=stat.S_IFLNK | 0o777, size=len(os.fsencode(target)), target=target),
            )
        elif path.is_dir():
            yield from _walk(path, f"{name}/", (*above, _not_above(path, above)))
        else:
            yield name, _file(path)


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError as error:
        raise Invalid(f"{directory} cannot be read ({error.strerror}); mend or remove it") from error


def _is_skipped(path: Path) -> bool:
    return path.name in SKIPPED or path.suffix == ".pyc" or (path / "pyvenv.cfg").is_file()


def _stays_inside(link: Path, root: Path) -> bool:
    """Whether a link can go into the package as a link: relative, never above the root, to a file taken."""
    target, real = os.readlink(link), link.resolve()
    lexical = Path(os.path.normpath(link.parent / target))
    inside = real.is_relative_to(root) and lexical.is_relative_to(root)
    if os.path.isabs(target) or not inside or not real.exists() or lexical.resolve() != real:
        return False
    taken = [lexical, *lexical.parents, real, *real.parents]
    return not any(_is_skipped(one) for one in taken if root in one.parents)


def _not_above(path: Path, above: Sequence[Path]) -> Path:
    real = path.resolve()
    if real in above:
        raise Invalid(f"the link {path} leads back to {real}, a directory that it is in; remove it")
    return real


def _file(path: Path) -> _Member:
    try:
        status = path.stat()
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({error.strerror}); mend or remove it") from error
    if not stat.S_ISREG(status.st_mode):
        raise Invalid(f"{path} is neither a file nor a directory; remove it")
    mode = 0o755 if status.st_mode & 0o111 else 0o644
    return _Member(path=path, mode=stat.S_IFREG | mode, size=status.st_size)


def _options(python: str | None, platform: str | None) -> list[str]:
    version = python if python and re.fullmatch(r"3(\.\d+){1,2}", python) else None
    interpreter = python if python and not version else sys.executable
    options = ["--python", interpreter]
    if version:
        options += ["--python-version", version]
    if platform:
        options += ["--python-platform", platform]
    return options


def _installed(directory: Path, fresh: Path, options: Sequence[str], runner: Runner) -> dict[str, _Member]:
    """The libraries of requirements.txt as members, without what an installer leaves about itself.

    Scripts in bin/ name the interpreter of the machine that built them; nothing in a package runs them.
    """
    command = [uv.find_uv_bin(), "pip", "install", "--no-progress", "--link-mode", "copy", *options]
    done = runner([*command, "--target", str(fresh), "--requirements", REQUIREMENTS], directory)
    if done.returncode:
        said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
        raise Invalid(f"the libraries of {directory / REQUIREMENTS} could not be installed; uv says:\n{said}")
    root = fresh.resolve()
    _keep_import_names(root)
    found = _walk(root, "", (root,))
    return {name: member for name, member in found if not _is_of_the_installer(name)}


def _keep_import_names(root: Path) -> None:
    """RECORD stays behind, so what it says of a library's import names goes into top_level.txt."""
    for record in root.glob("*.dist-info/RECORD"):
        names = record.with_name("top_level.txt")
        if not names.exists():
            found = sorted(tops_in(record.read_bytes()))
            names.write_text("".join(f"{name}\n" for name in found), encoding="utf-8")


def _is_of_the_installer(name: str) -> bool:
    directory, _, rest = name.partition("/")
    if directory == "bin" or name == ".lock":
        return True
    return directory.endswith(".dist-info") and rest in _OF_THE_INSTALLER


def _written(members: Mapping[str, _Member], output: Path, largest: tuple[DirectorySize, ...]) -> Built:
    number, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    try:
        with open(number, "w+b") as out:
            _zip(out, members)
            size = out.seek(0, os.SEEK_END)
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
            os.fchmod(number, 0o644)
        os.replace(name, output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Built(path=output, sha256=digest, size=size, biggest=largest)


def _zip(out: IO[bytes], members: Mapping[str, _Member]) -> None:
    """The level is zlib's own default, which ZipFile.open takes; the order is that of the names."""
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(members):
            member = members[name]
            record = zipfile.ZipInfo(name, _OLDEST)
            record.create_system = 3
            record.compress_type = zipfile.ZIP_DEFLATED
            record.external_attr = member.mode << 16
            record.file_size = member.size
            with archive.open(record, "w") as inside:
                _copy(member, inside, name)


def _copy(member: _Member, inside: IO[bytes], name: str) -> None:
    if member.target is not None:
        inside.write(os.fsencode(member.target))
        return
    try:
        with member.path.open("rb") as file:
            while piece := file.read(1 << 20):
                inside.write(piece)
    except OSError as error:
        raise Invalid(f"{shown(name)} cannot be read ({error.strerror}); mend or remove it") from error
