# SPDX-License-Identifier: Apache-2.0
"""What a handler left in its output directory, collected without trusting a single entry of it.

Every step is one `openat` from the descriptor of the directory above, never following a link, so that no
name can lead out of the directory whatever it has been turned into meanwhile. What is skipped is said, in a
sentence each, the first few of them.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field

from longshore.domain.errors import Invalid
from longshore.domain.names import checked_key

MAX_FILES = 1000
MAX_DEPTH = 16
MAX_ENTRIES = 20_000
MAX_SENTENCES = 20
PIECE_BYTES = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Output:
    """A file, open until the next one is asked for. `size` is what it had when it was opened."""

    name: str
    size: int
    _handle: int

    async def content(self) -> AsyncIterator[bytes]:
        """Its bytes, from the beginning, never more than `size`; fewer if it has shrunk."""
        at = 0
        while at < self.size:
            wanted = min(PIECE_BYTES, self.size - at)
            piece = await asyncio.to_thread(os.pread, self._handle, wanted, at)
            if not piece:
                return
            at += len(piece)
            yield piece


async def collect(directory_fd: int, *, limit: int) -> AsyncGenerator[Output | str, None]:
    """The files below a directory in the order of their names, `limit` bytes of them at most, and a sentence
    for each thing that is not kept."""
    own = os.dup(directory_fd)
    try:
        found = await asyncio.to_thread(_walk, os.dup(own))
        said = _Said()
        left = limit
        for name in sorted(found.files)[:MAX_FILES]:
            opened = _opened(own, name)
            if isinstance(opened, str):
                said.say(opened)
            elif opened.size > left:
                os.close(opened._handle)
                said.say(_too_large(opened, limit))
            else:
                left -= opened.size
                try:
                    yield opened
                finally:
                    os.close(opened._handle)
        for sentence in found.skipped:
            said.say(sentence)
        for sentence in (*said.sentences, *said.rest()):
            yield sentence
    finally:
        os.close(own)


@dataclass(slots=True)
class _Said:
    """Sentences, bounded: a million links are no million notices."""

    sentences: list[str] = field(default_factory=list)
    more: int = 0

    def say(self, sentence: str) -> None:
        if len(self.sentences) < MAX_SENTENCES:
            self.sentences.append(sentence)
        else:
            self.more += 1

    def rest(self) -> Iterator[str]:
        if self.more:
            yield f"{self.more} more entries of the output directory were not kept"


@dataclass(slots=True)
class _Found:
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    entries: int = 0


def _walk(directory: int) -> _Found:
    """Names of regular files and sentences about all else. Closes the descriptor."""
    found = _Found()
    _visit(directory, "", found, 1)
    found.skipped.sort()
    if found.entries > MAX_ENTRIES:
        found.skipped.insert(
            0, f"the output directory has more than {MAX_ENTRIES} entries; not all were seen"
        )
    if len(found.files) > MAX_FILES:
        many = len(found.files) - MAX_FILES
        found.skipped.insert(0, f"{many} files were not kept: a run keeps at most {MAX_FILES}")
    return found


def _visit(directory: int, prefix: str, found: _Found, depth: int) -> None:
    try:
        names = _listed(directory, found)
        for name in names:
            _look(directory, name, prefix, found, depth)
    except OSError as error:
        found.skipped.append(_not_kept(prefix.rstrip("/") or ".", error.strerror or "it cannot be read"))
    finally:
        os.close(directory)


def _listed(directory: int, found: _Found) -> list[str]:
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            found.entries += 1
            if found.entries > MAX_ENTRIES:
                break
            names.append(entry.name)
    return sorted(names)


def _look(directory: int, name: str, prefix: str, found: _Found, depth: int) -> None:
    path = prefix + name
    try:
        checked_key(path)
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            found.files.append(path)
        elif not stat.S_ISDIR(mode):
            found.skipped.append(_not_kept(path, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}"))
        elif depth >= MAX_DEPTH:
            found.skipped.append(_not_kept(path, f"it is deeper than {MAX_DEPTH} directories"))
        else:
            _visit(os.open(name, _DIRECTORY, dir_fd=directory), path + "/", found, depth + 1)
    except Invalid as error:
        found.skipped.append(_not_kept(path, error.message))
    except OSError as error:
        found.skipped.append(_not_kept(path, error.strerror or "it cannot be read"))


def _opened(directory: int, path: str) -> Output | str:
    """The file of that name, opened step by step; a sentence when it is not one any more."""
    handle = os.dup(directory)
    try:
        *above, name = path.split("/")
        for part in above:
            handle = _replaced(handle, os.open(part, _DIRECTORY, dir_fd=handle))
        handle = _replaced(handle, os.open(name, _FILE, dir_fd=handle))
        seen = os.fstat(handle)
    except OSError as error:
        os.close(handle)
        return _not_kept(path, error.strerror or "it cannot be read")
    if not stat.S_ISREG(seen.st_mode):
        os.close(handle)
        return _not_kept(path, "it is no regular file any more")
    return Output(path, seen.st_size, handle)


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _too_large(output: Output, limit: int) -> str:
    megabytes = output.size / 2**20
    return _not_kept(
        output.name,
        f"with its {megabytes:.1f} MB the files would take more than the run's {limit / 2**20:g} MB",
    )


def _not_kept(path: str, why: str) -> str:
    shown = ascii(path) if not path.isprintable() else repr(path)
    return f"{shown if len(shown) <= 200 else shown[:200] + '…'} in the output directory was not kept: {why}"
