# SPDX-License-Identifier: Apache-2.0
"""Zips by hand: what no well-behaved zip program writes."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Part:
    """One entry, field by field. What is None is computed honestly."""

    name: bytes
    content: bytes = b"x = 1\n"
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    header_at: int | None = None
    stamp: int = 0x58210000
    extra: bytes = b""


def packed(part: Part) -> bytes:
    if part.method != 8:
        return part.content
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflater.compress(part.content) + deflater.flush()


def local(part: Part, body: bytes) -> bytes:
    name = part.name if part.local_name is None else part.local_name
    size = len(part.content) if part.size is None else part.size
    crc = zlib.crc32(part.content) if part.crc is None else part.crc
    head = struct.pack(
        "<4s3HLLLL2H", b"PK\3\4", 20, part.flags, part.method, part.stamp, crc, len(body), size, len(name), 0
    )
    return head + name + body


def central(part: Part, body: bytes, header_at: int) -> bytes:
    size = len(part.content) if part.size is None else part.size
    crc = zlib.crc32(part.content) if part.crc is None else part.crc
    at = header_at if part.header_at is None else part.header_at
    head = struct.pack(
        "<4s4HLLLL5HLL",
        *(b"PK\1\2", 3 << 8 | 20, 20, part.flags, part.method, part.stamp, crc, len(body), size),
        *(len(part.name), len(part.extra), 0, 0, 0, part.mode << 16, at),
    )
    return head + part.name + part.extra


def end(count: int, size: int, at: int, *, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, at, len(comment)) + comment


def end64(count: int, size: int, at: int) -> bytes:
    """The zip64 end record, its locator, and an old end record that defers to them."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + size, 1)
    return record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


def zipped(*parts: Part, count: int | None = None) -> bytes:
    body, directory = b"", b""
    for part in parts:
        data = packed(part)
        directory += central(part, data, len(body))
        body += local(part, data)
    return body + directory + end(len(parts) if count is None else count, len(directory), len(body))


def files(*names: str) -> Sequence[Part]:
    return [Part(name=name.encode()) for name in names]


def kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
