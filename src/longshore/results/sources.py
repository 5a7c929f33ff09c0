# SPDX-License-Identifier: Apache-2.0
"""Where results come from: files, globs, several load generators, and what is packed in gz or zip."""

import glob
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from .errors import BadResults

RESULTS = (".jtl", ".csv", ".xml", ".jtl.gz", ".csv.gz", ".xml.gz")
"""How results are named inside a zip; what else lies there (errors, logs, plans) is left alone."""

BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)
"""What reading raises when a packed file is cut off or damaged."""

_GZIP, _ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")


class Closes(Protocol):
    """What must be closed in the end."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One result file; it can be opened more than once. `name` is what people are told."""

    name: str
    open_raw: Callable[[], BinaryIO]

    def open(self) -> BinaryIO:
        """The file's own bytes, unpacked when it is a gz."""
        raw = self.open_raw()
        head = raw.read(2)
        raw.seek(0)
        return _Packed(gzip.GzipFile(fileobj=raw), raw) if head == _GZIP else raw


class _Packed(io.BufferedReader):
    """A stream inside a packed file, which is closed with it."""

    def __init__(self, inside: gzip.GzipFile | IO[bytes], packed: Closes) -> None:
        self._packed = packed
        super().__init__(inside)  # type: ignore[arg-type]  # it needs only what unpacking streams have

    def close(self) -> None:
        super().close()
        self._packed.close()


def located(names: Iterable[str], roots: Sequence[Path]) -> list[Path]:
    """The files that names or patterns mean: as they stand, or below the first root that has them.

    Each file once, however many names lead to it. Raises BadResults for a name that leads nowhere.
    """
    found: dict[Path, Path] = {}
    for name in names:
        paths = _matches(name, roots)
        if not paths:
            places = ", ".join(str(root) for root in roots)
            where = f"; looked there and in {places}" if places else ""
            raise BadResults(f"there is no file {name}{where}. Give the path of a JTL file, or a pattern")
        found.update((path.resolve(), path) for path in paths)
    return list(found.values())


def _matches(name: str, roots: Sequence[Path]) -> list[Path]:
    for place in (Path(name), *(root / name for root in roots)):
        if place.is_file():
            return [place]
        matching = sorted(Path(one) for one in glob.glob(str(place), recursive=True))
        if files := [one for one in matching if one.is_file()]:
            return files
    return []


def sources(paths: Iterable[Path]) -> list[Source]:
    """The result files behind paths; a zip gives each of its own. Raises BadResults."""
    found: list[Source] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                packed = file.read(4) in _ZIP
        except OSError as error:
            raise BadResults(f"{path} cannot be read: {error.strerror}") from error
        found += _inside(path) if packed else [Source(path.name, _opener(path))]
    if not found:
        raise BadResults("no result file was given")
    return found


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def _inside(path: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if _is_results(one)]
            others = [one.filename for one in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise BadResults(f"{path.name} is not a whole zip file ({error}); upload it again") from error
    if not members:
        there = ", ".join(others[:10]) or "nothing"
        raise BadResults(f"{path.name} has no .jtl, .csv or .xml in it; it has {there}")
    if locked := [one.filename for one in members if one.flag_bits & 1]:
        raise BadResults(f"{locked[0]} in {path.name} is encrypted; pack it without a password")
    return [Source(f"{path.name}/{one.filename}", _member(path, one.filename)) for one in members]


def _is_results(member: zipfile.ZipInfo) -> bool:
    name = member.filename.lower()
    return name.endswith(RESULTS) and not member.is_dir() and not name.startswith("__macosx/")


def _member(path: Path, name: str) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        archive = zipfile.ZipFile(path)
        try:
            return _Packed(archive.open(name), archive)
        except BaseException:
            archive.close()
            raise

    return open_member
