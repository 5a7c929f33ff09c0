# SPDX-License-Identifier: Apache-2.0
"""The table of contents of a zip, read by the book.

    [local header, bytes] [local header, bytes] ... [central directory] [zip64 end, locator] [end record]

`zipfile` renames, strips and skips so that most archives open; two programs then see two different packages
in one file. Here the parts must lie as drawn, without anything before the first or after the last, and the
central directory must agree with each local header.
"""

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from longshore.domain.archive import Entry, EntryKind, check_count, check_name, shown
from longshore.domain.errors import BadPackage

STORED, DEFLATED = 0, 8
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_AES = 99
_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_FORMATS = {
    b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zX": "an xz file",
    b"\x7fELF": "a Linux program",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An entry and where its packed bytes lie. `modified_at`: seconds since 1970, taken as UTC."""

    entry: Entry
    header_at: int
    starts_at: int
    packed_size: int
    crc: int
    method: int
    modified_at: int


class _End(NamedTuple):
    """What the end record says, 64-bit or not; `at` is where the first of the end's records begins."""

    entries: int
    directory_size: int
    directory_at: int
    at: int


class _Central(NamedTuple):
    signature: bytes
    made_by: int
    needs: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed_size: int
    size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    internal: int
    external: int
    header_at: int


def read_directory(file: BinaryIO) -> list[Stored]:
    """The entries of a zip in the order of their bytes; raises BadPackage for anything out of line.

    The number of entries is judged by the end record alone, before memory is spent on the first of them.
    Tree, sizes and links are not judged here but in `domain.archive`.
    """
    end = _read_end(file)
    check_count(end.entries)
    _check_layout(file, end)
    file.seek(end.directory_at)
    found = sorted(_read_entries(file.read(end.directory_size), end.entries), key=lambda one: one.header_at)
    placed = [_placed(file, one, end) for one in found]
    _check_overlap(placed, end)
    return [one.stored for one in placed]


def _read_end(file: BinaryIO) -> _End:
    size = file.seek(0, 2)
    if size == 0:
        raise BadPackage("the file is empty; a package is a zip with the handler's file in it")
    tail_at = max(0, size - _END.size - 0xFFFF)
    file.seek(tail_at)
    tail = file.read()
    ends = list(_ends_in(tail))
    if not ends:
        raise BadPackage(_why_no_end(file, tail))
    if len(ends) > 1:
        raise BadPackage(
            "the zip has two end records, so programs disagree on what is in it; zip the files again"
        )
    return _widened(file, tail_at + ends[0], _END.unpack_from(tail, ends[0]))


def _ends_in(tail: bytes) -> Iterator[int]:
    at = tail.find(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            yield at
        at = tail.find(b"PK\5\6", at + 1)


def _why_no_end(file: BinaryIO, tail: bytes) -> str:
    if b"PK\5\6" in tail:
        return (
            "the zip is cut off in its end record or has bytes after it; upload the whole file, zipped again"
        )
    file.seek(0)
    head = file.read(8)
    if head.startswith(b"PK\3\4"):
        return "the zip is cut off: its end is missing; upload the whole file"
    for magic, words in _FORMATS.items():
        if head.startswith(magic):
            return f"the file is {words}, not a zip; pack the files as .zip"
    return "the file is not a zip; pack the files as .zip"


def _widened(file: BinaryIO, at: int, record: tuple[bytes, int, int, int, int, int, int, int]) -> _End:
    _, disk, first_disk, count_here, count, directory_size, directory_at, _ = record
    file.seek(max(0, at - _LOCATOR.size))
    locator = file.read(min(at, _LOCATOR.size))
    if locator.startswith(b"PK\6\7") and len(locator) == _LOCATOR.size:
        wide = _read_end64(file, at - _LOCATOR.size, locator)
        _check_agrees(wide, count, directory_size, directory_at)
        return wide
    if 0xFFFFFFFF in (directory_size, directory_at):
        raise BadPackage("the zip's 64-bit end record is missing; zip the files again")
    _check_one_disk(disk, first_disk, count_here, count)
    return _End(count, directory_size, directory_at, at)


def _read_end64(file: BinaryIO, locator_at: int, locator: bytes) -> _End:
    _, disk, at, disks = _LOCATOR.unpack(locator)
    if disk or disks > 1 or at + _END64.size > locator_at:
        raise BadPackage("the zip's 64-bit end record is not where it should be; zip the files again")
    file.seek(at)
    signature, length, _, _, this, first, here, count, size, start = _END64.unpack(file.read(_END64.size))
    if signature != b"PK\6\6" or at + 12 + length != locator_at:
        raise BadPackage("the zip's 64-bit end record is damaged; zip the files again")
    _check_one_disk(this, first, here, count)
    return _End(count, size, start, at)


def _check_agrees(wide: _End, count: int, size: int, start: int) -> None:
    pairs = (
        (count, 0xFFFF, wide.entries),
        (size, 0xFFFFFFFF, wide.directory_size),
        (start, 0xFFFFFFFF, wide.directory_at),
    )
    if any(narrow not in (sentinel, value) for narrow, sentinel, value in pairs):
        raise BadPackage("the zip's two end records disagree on what is in it; zip the files again")


def _check_one_disk(this: int, first: int, here: int, count: int) -> None:
    if this or first or here != count:
        raise BadPackage("the file is one part of a split zip; upload it as one file")


def _check_layout(file: BinaryIO, end: _End) -> None:
    if end.directory_size > MAX_DIRECTORY_BYTES or end.directory_size < end.entries * _CENTRAL.size:
        raise BadPackage(
            "the zip's directory does not have the size that its entries need; zip the files again"
        )
    before = end.at - end.directory_size - end.directory_at
    if before > 0:
        raise BadPackage(
            f"the zip has {before:,} bytes in front of its first entry or behind its directory, such as a"
            " script that unpacks itself; upload the plain zip"
        )
    if before < 0:
        raise BadPackage(
            "the zip is cut off: its directory does not fit into the file; upload the whole file"
        )
    file.seek(0)
    if file.read(4) != b"PK\3\4":
        raise BadPackage(
            "the file does not begin with a zip entry but with something else; upload the plain zip"
        )


class _Found(NamedTuple):
    """An entry as the central directory has it; `name` in raw bytes, to compare with the local header."""

    entry: Entry
    name: bytes
    header_at: int
    packed_size: int
    crc: int
    method: int
    modified_at: int


def _read_entries(directory: bytes, count: int) -> Iterator[_Found]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise BadPackage(
                f"the zip's directory ends before the {count:,} entries that it claims; zip again"
            )
        head = _Central._make(_CENTRAL.unpack_from(directory, at))
        name_at = at + _CENTRAL.size
        extra_at = name_at + head.name_length
        at = extra_at + head.extra_length + head.comment_length
        if head.signature != b"PK\1\2" or at > len(directory):
            raise BadPackage("the zip's directory is damaged; zip the files again")
        yield _found(head, directory[name_at:extra_at], directory[extra_at : extra_at + head.extra_length])
    if at != len(directory):
        raise BadPackage(f"the zip's directory has more than the {count:,} entries that it claims; zip again")


def _found(head: _Central, raw: bytes, extra: bytes) -> _Found:
    written = _decoded(raw, head.flags)
    size, packed_size, header_at = _sizes(head, extra, written)
    mode = head.external >> 16
    kind = _kind(written, mode)
    name = written.removesuffix("/") if kind is EntryKind.DIRECTORY else written
    check_name(name)
    _check_coding(head, name)
    if kind is EntryKind.DIRECTORY and size:
        raise BadPackage(f"the directory {shown(name)} has {size:,} bytes of its own; zip again", entry=name)
    entry = Entry(name=name, kind=kind, size=size, executable=bool(mode & 0o111))
    return _Found(entry, raw, header_at, packed_size, head.crc, head.method, _seconds(head.date, head.time))


def _decoded(raw: bytes, flags: int) -> str:
    """A name as text. Without the UTF-8 flag it should be code page 437, but macOS writes UTF-8 there too."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("cp437")
    if flags & _UTF8:
        raise BadPackage(
            f"the entry {shown(name)} has a name that is not UTF-8 as it claims; rename it", entry=name
        )
    return name


def _kind(name: str, mode: int) -> EntryKind:
    if stat.S_ISLNK(mode):
        return EntryKind.LINK
    return EntryKind.DIRECTORY if name.endswith("/") or stat.S_ISDIR(mode) else EntryKind.FILE


def _sizes(head: _Central, extra: bytes, name: str) -> tuple[int, int, int]:
    """Unpacked size, packed size and offset; those of 32 set bits are in the zip64 extra field."""
    narrow = (head.size, head.packed_size, head.header_at)
    missing = [value == 0xFFFFFFFF for value in narrow]
    if not any(missing):
        return narrow
    wide = _extra64(extra)
    if len(wide) < 8 * sum(missing):
        raise BadPackage(f"the entry {shown(name)} lacks its 64-bit sizes; zip the files again", entry=name)
    values = iter(struct.unpack_from(f"<{sum(missing)}Q", wide))
    size, packed, at = (next(values) if gone else value for value, gone in zip(narrow, missing, strict=True))
    return size, packed, at


def _extra64(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _check_coding(head: _Central, name: str) -> None:
    if head.flags & _ENCRYPTED or head.method == _AES:
        raise BadPackage(f"the entry {shown(name)} is password-protected; zip without a password", entry=name)
    if head.method not in (STORED, DEFLATED):
        words = _METHODS.get(head.method, "unknown")
        raise BadPackage(
            f"the entry {shown(name)} is packed with method {head.method} ({words});"
            " use deflate, which zip programs use by default",
            entry=name,
        )
    if head.disk not in (0, 0xFFFF):
        raise BadPackage("the file is one part of a split zip; upload it as one file", entry=name)


def _seconds(date: int, clock: int) -> int:
    """A DOS date and time. Some writers leave them zero or impossible; those become the first of 1980."""
    try:
        day = datetime(1980 + (date >> 9), date >> 5 & 15, date & 31, tzinfo=UTC)
        at = day.replace(hour=clock >> 11, minute=clock >> 5 & 63, second=(clock & 31) * 2)
    except ValueError:
        at = datetime(1980, 1, 1, tzinfo=UTC)
    return int(at.timestamp())


class _Placed(NamedTuple):
    stored: Stored
    ends_at: int


def _placed(file: BinaryIO, found: _Found, end: _End) -> _Placed:
    name = found.entry.name
    file.seek(found.header_at)
    raw = file.read(_LOCAL.size)
    if found.header_at >= end.directory_at or len(raw) < _LOCAL.size or not raw.startswith(b"PK\3\4"):
        raise BadPackage(
            f"the entry {shown(name)} is not where the directory says; zip the files again", entry=name
        )
    _, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(raw)
    if file.read(name_length) != found.name or method != found.method or flags & _ENCRYPTED:
        raise BadPackage(
            f"the entry {shown(name)} differs from what the directory says; zip again", entry=name
        )
    starts_at = found.header_at + _LOCAL.size + name_length + extra_length
    stored = Stored(
        entry=found.entry,
        header_at=found.header_at,
        starts_at=starts_at,
        packed_size=found.packed_size,
        crc=found.crc,
        method=found.method,
        modified_at=found.modified_at,
    )
    return _Placed(stored, starts_at + found.packed_size)


def _check_overlap(placed: list[_Placed], end: _End) -> None:
    if placed[0].stored.header_at:
        raise BadPackage("the zip has something in front of its first entry; upload the plain zip")
    ends = [one.stored.header_at for one in placed[1:]] + [end.directory_at]
    for one, next_at in zip(placed, ends, strict=True):
        if one.ends_at > next_at:
            name = one.stored.entry.name
            raise BadPackage(
                f"the bytes of the entry {shown(name)} overlap with the next one's; zip the files again",
                entry=name,
            )
