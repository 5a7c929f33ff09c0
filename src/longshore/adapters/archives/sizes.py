# SPDX-License-Identifier: Apache-2.0
"""What makes a package large, and what of it could be left out."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from longshore.adapters.archives.stdlib import PROVIDED
from longshore.domain.archive import DirectorySize, Entry, Finding, Level, biggest, shown

LARGE_BYTES = 50 * 1024 * 1024
WORTH_BYTES = 256 * 1024
_TESTS = re.compile(r"(?:.*?/)?tests?/")
_A_TEST = re.compile(r"/(test_[^/]*|[^/]*_test)\.py$")
_DOCS = re.compile(r"(?:.*?/)?(?:docs?|examples|benchmarks)/")
_CACHE = "__pycache__"


def too_much(entries: Sequence[Entry]) -> list[Finding]:
    """One warning for a package that unpacks to more than 50 MB: every machine fetches and unpacks it."""
    total = sum(entry.size for entry in entries)
    if total <= LARGE_BYTES:
        return []
    message = f"the package unpacks to {_mb(total)}, which a first start on a machine waits for"
    message += f"; most is in {_listed(biggest(entries, top=3))}"
    spare = _spare(entries)
    if spare:
        message += f"; could be left out: {_listed(spare[:5])}"
    heavy = [one for one in biggest(entries, top=100) if one.unpacked_bytes >= WORTH_BYTES]
    brought = [one for one in heavy if one.name in PROVIDED]
    if brought:
        message += f"; the runtime has its own {', '.join(one.name for one in brought)}"
    return [Finding(level=Level.WARNING, code="size", message=message)]


def _spare(entries: Sequence[Entry]) -> list[DirectorySize]:
    """Folders of tests, documentation and bytecode, heaviest first; only those that are worth the trouble."""
    python = {entry.name for entry in entries if entry.name.endswith(".py")}
    tests = {
        folder for name in python if _A_TEST.search(name) for folder in [_outermost(_TESTS, name)] if folder
    }
    code = {folder for name in python for folder in [_outermost(_DOCS, name)] if folder}
    sizes: dict[str, int] = defaultdict(int)
    for entry in entries:
        folder = _outermost(_TESTS, entry.name)
        if folder not in tests:
            docs = _outermost(_DOCS, entry.name)
            in_cache = f"/{_CACHE}/" in f"/{entry.name}"
            folder = docs if docs and docs not in code else _CACHE if in_cache else None
        if folder:
            sizes[folder] += entry.size
    found = sorted(((size, name) for name, size in sizes.items() if size >= WORTH_BYTES), reverse=True)
    return [DirectorySize(name=name, unpacked_bytes=size) for size, name in found]


def _outermost(kind: re.Pattern[str], name: str) -> str | None:
    """The first folder of that kind on the way to a file."""
    found = kind.match(name[: name.rfind("/") + 1])
    return found[0].rstrip("/") if found else None


def _listed(sizes: Iterable[DirectorySize]) -> str:
    return ", ".join(f"{_named(one.name)} ({_mb(one.unpacked_bytes)})" for one in sizes)


def _named(name: str) -> str:
    return "files at the top level" if name == "." else shown(name)


def _mb(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MB".replace(".0 MB", " MB")
