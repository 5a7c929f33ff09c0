# SPDX-License-Identifier: Apache-2.0
"""The bytes of an entry, counted and summed while they are inflated."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from longshore.adapters.archives.directory import DEFLATED, Stored
from longshore.domain.archive import MAX_PATH_BYTES, shown
from longshore.domain.errors import BadPackage

_READ_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024


def pieces(file: BinaryIO, stored: Stored) -> Iterator[bytes]:
    """The unpacked bytes in pieces of at most 256 KiB, never more in sum than the directory declares.

    A declared size can lie, so the real bytes are what is counted; the iteration ends well only when size
    and checksum are both as declared.
    """
    count = crc = 0
    name = stored.entry.name
    file.seek(stored.starts_at)
    for piece in (_inflated if stored.method == DEFLATED else _plain)(file, stored):
        count += len(piece)
        crc = zlib.crc32(piece, crc)
        if count > stored.entry.size:
            raise BadPackage(
                f"the entry {shown(name)} unpacks to more than the {stored.entry.size:,} bytes"
                " that it declares; zip the files again",
                entry=name,
            )
        yield piece
    if count != stored.entry.size or crc != stored.crc:
        raise _damaged(name)


def whole(file: BinaryIO, stored: Stored) -> bytes:
    """All unpacked bytes at once, for entries known to be small."""
    return b"".join(pieces(file, stored))


def link_target(file: BinaryIO, stored: Stored) -> str:
    """Where a symbolic link points; raises BadPackage when that is no path."""
    name = stored.entry.name
    if stored.entry.size <= MAX_PATH_BYTES:
        try:
            return whole(file, stored).decode()
        except UnicodeDecodeError:
            pass
    raise BadPackage(
        f"the symbolic link {shown(name)} has an unusable target; put the file itself in", entry=name
    )


def _damaged(name: str) -> BadPackage:
    return BadPackage(
        f"the entry {shown(name)} is damaged (its checksum is wrong); upload the zip again", entry=name
    )


def _plain(file: BinaryIO, stored: Stored) -> Iterator[bytes]:
    left = stored.packed_size
    while left:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            raise _damaged(stored.entry.name)
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, stored: Stored) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-15)
    left = stored.packed_size
    while not inflater.eof:
        packed = inflater.unconsumed_tail
        if not packed:
            packed = file.read(min(left, _READ_BYTES))
            left -= len(packed)
        try:
            piece = inflater.decompress(packed, _PIECE_BYTES)
        except zlib.error as error:
            raise _damaged(stored.entry.name) from error
        if piece:
            yield piece
        elif not packed and not inflater.eof:
            raise _damaged(stored.entry.name)
    if left or inflater.unused_data:
        raise _damaged(stored.entry.name)
