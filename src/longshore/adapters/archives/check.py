# SPDX-License-Identifier: Apache-2.0
"""The whole check of an archive, in the order of its price: end record, directory, sizes, bytes, sources."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from longshore.adapters.archives.content import link_target, pieces, whole
from longshore.adapters.archives.directory import Stored, read_directory
from longshore.adapters.archives.handler import MAX_SOURCE_BYTES, Sources, look
from longshore.adapters.archives.imports import unresolved
from longshore.adapters.archives.sizes import too_much
from longshore.adapters.archives.wheels import here, import_names, wrong_wheels
from longshore.domain.archive import (
    EntryKind,
    Finding,
    Inspection,
    Level,
    biggest,
    check_entries,
    check_links,
    check_sizes,
    python_modules,
)


def check(path: Path, *, handler: str | None, python: tuple[int, int] | None = None) -> Inspection:
    """Read every byte of an archive and say what it holds; raises BadPackage naming the entry.

    `handler` and `python` are the task's; where they are None, what depends on them is not looked at.

    Memory stays small whatever the archive claims, but the time is the caller's: servers call
    `zips.inspect`, which does this in a child process.
    """
    with path.open("rb") as file:
        stored, warnings = opened(file)
        for one in stored:
            for _ in pieces(file, one):
                pass
        entries = [one.entry for one in stored]
        findings = [*_looked(file, stored, handler, python), *warnings, *too_much(entries)]
        return Inspection(
            entries=len(entries),
            unpacked_bytes=check_sizes(entries),
            findings=tuple(sorted(findings, key=lambda one: one.level is not Level.ERROR)),
            python_modules=python_modules(entry.name for entry in entries),
            biggest=biggest(entries),
        )


def opened(file: BinaryIO) -> tuple[list[Stored], tuple[Finding, ...]]:
    """An archive's entries, all names, sizes and links checked, before any file of it is inflated."""
    stored = read_directory(file)
    warnings = check_entries([one.entry for one in stored])
    links = {one.entry.name: link_target(file, one) for one in stored if one.entry.kind is EntryKind.LINK}
    check_links(links)
    return stored, warnings


def _looked(
    file: BinaryIO, stored: list[Stored], handler: str | None, python: tuple[int, int] | None
) -> list[Finding]:
    """What the sources, and what installers wrote, say of a package of Python code."""
    if handler is not None and "::" in handler:
        return []
    # Links count as files that cannot be read: what they point to is not worth a second walk here.
    by_name = {one.entry.name: one for one in stored if one.entry.kind is not EntryKind.DIRECTORY}
    sources = Sources(by_name.keys(), partial(_source, file, by_name))
    found = wrong_wheels(sources, here(python))
    if handler is None:
        return found
    imports = unresolved(handler, sources, version=python, libraries=import_names(sources))
    return [*look(handler, sources, python=python), *imports, *found]


def _source(file: BinaryIO, by_name: Mapping[str, Stored], name: str) -> bytes | None:
    one = by_name[name]
    if one.entry.kind is not EntryKind.FILE or one.entry.size > MAX_SOURCE_BYTES:
        return None
    return whole(file, one)
