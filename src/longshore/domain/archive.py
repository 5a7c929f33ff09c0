# SPDX-License-Identifier: Apache-2.0
"""What may be inside a package: names, kinds, sizes. And what a look at one finds.

    refused (BadPackage)       anything that unpacks differently in different programs: names that lead
                               outside, duplicates, links that leave, a file below a file, wrong sums
    refused (PackageTooLarge)  more unpacked bytes than fit
    found (Finding)            what will go wrong at the first run, or on another file system

A finding never refuses a package: the person who saves a task sees it before its first run does.
This module is standard library only; a child process that has nothing else on its path imports it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from longshore.domain.errors import BadPackage, TooLarge

MAX_ENTRIES = 20_000
MAX_UNPACKED_BYTES = 262_144_000
MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255
MAX_DEPTH = 64
MAX_LINK_HOPS = 40
"""As many as Linux follows before it answers ELOOP."""
MAX_SAME_FINDINGS = 10

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class PackageTooLarge(BadPackage, TooLarge):
    """A package that unpacks to more bytes than are allowed; the sentence says the limit."""


class EntryKind(StrEnum):
    """What an entry becomes on a disk. Devices, pipes and sockets become plain files."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in an archive. Directories carry no trailing slash here; `size` is the unpacked bytes."""

    name: str
    kind: EntryKind = EntryKind.FILE
    size: int = 0
    executable: bool = False


class Level(StrEnum):
    """How sure a finding is."""

    ERROR = "error"
    """The handler cannot work with this package."""
    WARNING = "warning"
    """It may work, here or elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to tell whoever uploaded a package. `code` is stable, `message` is a sentence for people."""

    level: Level
    code: str
    message: str
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySize:
    """A top-level directory and all bytes below it; `.` stands for the files that are in none."""

    name: str
    unpacked_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a checked package holds. `python_modules` are the names that its top level lets one import."""

    entries: int
    unpacked_bytes: int
    findings: tuple[Finding, ...]
    python_modules: tuple[str, ...]
    biggest: tuple[DirectorySize, ...]


def shown(name: str) -> str:
    """A name as an error may say it: quoted, control characters escaped, not longer than a line."""
    return repr(name if len(name) <= 120 else f"{name[:100]}…{name[-16:]}")


def check_entries(entries: Sequence[Entry]) -> tuple[Finding, ...]:
    """Raise BadPackage for names and combinations that cannot be unpacked; what is left to warn about."""
    check_count(len(entries))
    for entry in entries:
        check_name(entry.name)
    kinds = _kinds(entries)
    directories = _directories_above(kinds)
    _check_below(kinds, directories)
    check_sizes(entries)
    return _case_findings(directories.union(kinds))


def check_count(count: int) -> None:
    """Raise BadPackage for an archive with no entries, or more than are allowed."""
    if count == 0:
        raise BadPackage("the package is an empty zip; put the handler's file into it")
    if count > MAX_ENTRIES:
        raise BadPackage(
            f"the package has {count:,} entries; at most {MAX_ENTRIES:,} are allowed:"
            " leave out tests, caches and documentation of the libraries"
        )


def check_name(name: str) -> None:
    """Raise BadPackage for a name that means something else than a place below the package's root."""
    wrong = _wrong_with(name)
    if wrong:
        raise BadPackage(f"the entry {shown(name)} {wrong}", entry=name[: MAX_PATH_BYTES + 1])


def _wrong_with(name: str) -> str | None:
    segments = name.split("/")
    if _CONTROL.search(name):
        return "has a control character in its name; use printable names"
    if "\\" in name:
        return "has a backslash in its name; a zip separates directories with /"
    if name.startswith("/"):
        return "is an absolute path; use names relative to the package's root"
    if _DRIVE.match(name):
        return "begins with a drive letter; use names relative to the package's root"
    if ".." in segments:
        return "leads outside the package with '..'; use names below the package's root"
    if "" in segments or "." in segments:
        return "has an empty or '.' part between its slashes; write the plain path"
    return _too_long(name, segments)


def _too_long(name: str, segments: Sequence[str]) -> str | None:
    if len(name.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes; shorten its path"
    if len(segments) > MAX_DEPTH:
        return f"is {len(segments)} levels deep; at most {MAX_DEPTH} are allowed"
    if any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"has a part longer than {MAX_SEGMENT_BYTES} bytes; shorten that name"
    return None


def _kinds(entries: Iterable[Entry]) -> dict[str, EntryKind]:
    kinds: dict[str, EntryKind] = {}
    for entry in entries:
        before = kinds.setdefault(entry.name, entry.kind)
        if before is not entry.kind:
            raise BadPackage(
                f"{shown(entry.name)} is both a {before} and a {entry.kind} in the package; keep one of them",
                entry=entry.name,
            )
    if len(kinds) < sum(1 for _ in entries):
        twice = _first_twice(entry.name for entry in entries)
        raise BadPackage(f"the entry {shown(twice)} is in the package twice; keep one of them", entry=twice)
    if EntryKind.FILE not in kinds.values():
        raise BadPackage("the package has no files; put the handler's file into it")
    return kinds


def _first_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _check_below(kinds: Mapping[str, EntryKind], directories: Iterable[str]) -> None:
    for parent in directories:
        kind = kinds.get(parent, EntryKind.DIRECTORY)
        if kind is not EntryKind.DIRECTORY:
            name = next(name for name in kinds if name.startswith(f"{parent}/"))
            raise BadPackage(
                f"the entry {shown(name)} is below {shown(parent)}, which is a {kind} in the same package;"
                " it can only be below a directory",
                entry=name,
            )


def parents(name: str) -> list[str]:
    """The directories above a name, outermost first: a/b/c has a and a/b."""
    segments = name.split("/")
    return ["/".join(segments[:depth]) for depth in range(1, len(segments))]


def _directories_above(names: Iterable[str]) -> set[str]:
    """All directories that the names imply. Few entries can imply a million, so they have a limit too."""
    found: set[str] = set()
    for name in names:
        for parent in reversed(parents(name)):
            if parent in found:
                break
            found.add(parent)
        if len(found) > MAX_ENTRIES:
            raise BadPackage(
                f"the package has more than {MAX_ENTRIES:,} directories; leave some out", entry=name
            )
    return found


def check_sizes(entries: Iterable[Entry]) -> int:
    """All unpacked bytes in sum; raises PackageTooLarge past the limit."""
    entries = list(entries)
    total = sum(entry.size for entry in entries)
    if total > MAX_UNPACKED_BYTES:
        heavy = max(entries, key=lambda entry: entry.size)
        most = biggest(entries, top=1)[0]
        raise PackageTooLarge(
            f"the package unpacks to {total:,} bytes; at most {MAX_UNPACKED_BYTES:,} are allowed. Its biggest"
            f" directory is {shown(most.name)} with {most.unpacked_bytes:,} bytes, its biggest file"
            f" {shown(heavy.name)} with {heavy.size:,}",
            entry=heavy.name,
        )
    return total


def biggest(entries: Iterable[Entry], *, top: int = 5) -> tuple[DirectorySize, ...]:
    """The top-level directories that hold most bytes, heaviest first."""
    sizes: dict[str, int] = {}
    for entry in entries:
        directory = entry.name.split("/")[0] if "/" in entry.name else "."
        sizes[directory] = sizes.get(directory, 0) + entry.size
    heaviest = sorted(
        ((name, size) for name, size in sizes.items() if size), key=lambda pair: (-pair[1], pair[0])
    )
    return tuple(DirectorySize(name=name, unpacked_bytes=size) for name, size in heaviest[:top])


def _case_findings(names: Iterable[str]) -> tuple[Finding, ...]:
    first: dict[str, str] = {}
    findings = []
    for name in sorted(names):
        twin = first.setdefault(name.casefold(), name)
        if twin != name:
            findings.append(
                Finding(
                    level=Level.WARNING,
                    code="case",
                    message=f"{shown(twin)} and {shown(name)} differ in upper and lower case only;"
                    " on macOS and Windows one of them replaces the other",
                    entry=name,
                )
            )
    return tuple(findings[:MAX_SAME_FINDINGS])


def check_links(targets: Mapping[str, str]) -> None:
    """Raise BadPackage unless every symbolic link is relative and ends inside the package.

    The path is walked as a kernel would walk it, through the other links of the package: a chain of links
    that are harmless each by itself must not climb out together.
    """
    for name, target in targets.items():
        wrong = _wrong_target(target) or _walk(name, targets)
        if wrong:
            raise BadPackage(
                f"the symbolic link {shown(name)} {wrong}; put the file itself into the package", entry=name
            )


def _wrong_target(target: str) -> str | None:
    if not target or _CONTROL.search(target) or "\\" in target or len(target.encode()) > MAX_PATH_BYTES:
        return f"has an unusable target, {shown(target)}"
    if target.startswith("/") or _DRIVE.match(target):
        return f"points to the absolute path {shown(target)}"
    return None


def _walk(name: str, targets: Mapping[str, str]) -> str | None:
    place: list[str] = []
    ahead = name.split("/")[::-1]
    hops = 0
    while ahead:
        step = ahead.pop()
        if step in ("", "."):
            continue
        if step == "..":
            if not place:
                return f"points outside the package, to {shown(targets[name])}"
            place.pop()
            continue
        place.append(step)
        further = targets.get("/".join(place))
        if further is not None:
            hops += 1
            if hops > MAX_LINK_HOPS or len(ahead) > 4 * MAX_PATH_BYTES:
                return f"leads in a circle, through {shown(targets[name])}"
            place.pop()
            ahead.extend(further.split("/")[::-1])
    return None


def python_modules(names: Iterable[str]) -> tuple[str, ...]:
    """What a package's root lets one import: files, compiled modules, directories with Python in them."""
    found = set()
    for name in names:
        top, _, below = name.partition("/")
        is_file_below = below.endswith(".py") and "/" not in below
        module = top if is_file_below else "" if below else _module_of(top)
        if module.isidentifier():
            found.add(module)
    return tuple(sorted(found))


def _module_of(file_name: str) -> str:
    stem, _, rest = file_name.partition(".")
    return stem if rest in ("py", "pyc", "so") or rest.endswith((".so", ".pyd")) else ""
