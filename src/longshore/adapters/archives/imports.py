# SPDX-License-Identifier: Apache-2.0
"""Will a package's imports resolve? Answered by reading the author's own sources from the handler on.

    package ─ yes ─▶ follow it, unless a library's installer laid it there
    standard library of the runtime's version, what the runtime brings ─ yes ─▶ fine
    none of these ─▶ a finding: an error where the handler surely gets to, a warning elsewhere

An import that its author guards (`try: ... except ImportError`, `if TYPE_CHECKING`) is the author's business,
and so is what `importlib` is asked for. Where the author bends Python's search path, nothing is sure.
"""

import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from longshore.adapters.archives.handler import Sources
from longshore.adapters.archives.modules import Modules
from longshore.adapters.archives.source import Import, Source, bends, understood
from longshore.adapters.archives.stdlib import OWN, PROVIDED, is_standard, reads_syntax_of, why_not
from longshore.domain.archive import MAX_SAME_FINDINGS, Finding, Level, shown
from longshore.domain.wheels import IMPORTED_AS

MAX_FILES_READ = 500
MAX_BYTES_READ = 4 * 1024 * 1024
MAX_LACKS = 100
_MAX_FILE_BYTES = 1024 * 1024
_HARMLESS_PTH = ("-nspkg.pth", "distutils-precedence.pth")


@dataclass(frozen=True, slots=True)
class _Lack:
    """A dotted module that nothing answers to, and the end of the sentence that begins with "imports"."""

    dotted: str
    why: str
    elsewhere: str | None = None


@dataclass(slots=True)
class _Walk:
    """A walk over a package's own modules: first what the handler surely gets to, then what it may."""

    sources: Sources
    modules: Modules
    version: tuple[int, int] | None
    libraries: Collection[str]
    surely: deque[str] = field(default_factory=deque)
    maybe: deque[str] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    bytes_left: int = MAX_BYTES_READ

    def visit(self, place: str | None, *, is_eager: bool) -> None:
        """Read a file later, if it is source of the author's own."""
        if place and place.endswith(".py") and place.split("/")[0].removesuffix(".py") not in self.libraries:
            if is_eager and place not in self.seen:
                self.seen.add(place)
                self.surely.append(place)
            elif not is_eager:
                self.maybe.append(place)

    def steps(self) -> Iterator[tuple[str, bool, Source]]:
        """Each file once, with whether the handler surely gets to it, as far as the limits go."""
        while (self.surely or self.maybe) and len(self.read) < MAX_FILES_READ and self.bytes_left > 0:
            is_eager = bool(self.surely)
            place = self.surely.popleft() if is_eager else self.maybe.popleft()
            if place in self.read:
                continue
            self.read.add(place)
            text = self.sources.read(place)
            if text is not None and len(text) <= min(self.bytes_left, _MAX_FILE_BYTES):
                self.bytes_left -= len(text)
                yield place, is_eager, understood(text)


def unresolved(
    handler: str, sources: Sources, *, version: tuple[int, int] | None, libraries: Collection[str]
) -> list[Finding]:
    """A finding for every import of the author's own modules that nothing here answers.

    `version` is the Python that will run it (None: any), `libraries` the top-level names that installers
    laid into the package; what a library imports is its own affair.
    """
    parts = handler.strip().rpartition(".")[0].replace("/", ".").split(".")
    modules = Modules.of(sources.names)
    walk = _Walk(sources, modules, version, (PROVIDED | set(libraries)) - {parts[0]})
    start = modules.find(parts)
    if start is not None:
        _descend(parts, walk, is_eager=True)
    is_bent = _bent_by_pth(sources.names)
    found: dict[str, tuple[Finding, bool]] = {}
    for place, is_eager, source in walk.steps():
        is_bent = is_bent or source.bends
        if source.error and place != start and reads_syntax_of(version):
            found[place] = (_broken(source.error, place, is_eager=is_eager), False)
        for one in source.imports:
            _note(one, place, walk, found, is_eager=is_eager and one.is_eager)
        if len(found) >= MAX_LACKS:
            break
    is_bent = is_bent or bool(found and _bent_unseen(parts[0], walk))
    return _told(found.values(), is_bent=is_bent)


def _note(
    one: Import, place: str, walk: _Walk, found: dict[str, tuple[Finding, bool]], *, is_eager: bool
) -> None:
    """Add what an import lacks; of several that lack the same, the first that the handler surely gets to."""
    lack = _lack(one, place, walk, is_eager=is_eager)
    if lack is None:
        return
    finding = _finding(one, place, lack.why, is_eager=is_eager)
    known = found.get(lack.dotted)
    if known is None or (known[0].level, finding.level) == (Level.WARNING, Level.ERROR):
        found[lack.dotted] = (finding, lack.elsewhere is not None)


def _told(found: Iterable[tuple[Finding, bool]], *, is_bent: bool) -> list[Finding]:
    """Errors first. Where the search path is bent, a module further down is found and others may be."""
    findings = [finding for finding, is_elsewhere in found if not (is_bent and is_elsewhere)]
    if is_bent:
        findings = [replace(one, level=Level.WARNING) for one in findings]
    return sorted(findings, key=lambda one: one.level is not Level.ERROR)[:MAX_SAME_FINDINGS]


def _bent_by_pth(names: Collection[str]) -> bool:
    """The package's directory is a site directory: a .pth file at its top can add others."""
    return any(
        "/" not in name and name.endswith(".pth") and not name.endswith(_HARMLESS_PTH) for name in names
    )


def _bent_unseen(own: str, walk: _Walk) -> bool:
    """Whether a file of the author's bends it that the walk did not get to: it may run by another road."""
    beside = [name for name in walk.sources.names if name.endswith(".py") and name not in walk.read]
    beside = [name for name in beside if "/" not in name or name.split("/")[0] == own]
    left = MAX_BYTES_READ
    for name in sorted(beside)[:MAX_FILES_READ]:
        text = b"" if name.removesuffix(".py") in walk.libraries else walk.sources.read(name) or b""
        left -= len(text)
        if left < 0:
            return False
        if bends(text):
            return True
    return False


def _finding(one: Import, place: str, why: str, *, is_eager: bool) -> Finding:
    level = Level.ERROR if is_eager else Level.WARNING
    return Finding(
        level=level, code="import", message=f"{place}, line {one.line}, imports {why}", entry=place
    )


def _broken(error: SyntaxError, place: str, *, is_eager: bool) -> Finding:
    line = f", line {error.lineno}" if error.lineno else ""
    level = Level.ERROR if is_eager else Level.WARNING
    return Finding(
        level=level,
        code="import",
        message=f"{place}{line}: {error.msg} (as Python {_dotted(OWN)} reads it)",
        entry=place,
    )


def _lack(one: Import, place: str, walk: _Walk, *, is_eager: bool) -> _Lack | None:
    """What an import lacks; what it does not lack is visited on the way."""
    parts = [part for part in one.module.split(".") if part]
    if one.level:
        above = place.split("/")[:-1]
        if one.level > len(above):
            return _too_high(one, place)
        parts = above[: len(above) - one.level + 1] + parts
    elif _comes_first(parts, walk):
        return _absent_name(parts, one.names, walk)
    elif walk.modules.at(parts[0]) is None and parts[0] not in walk.modules.directories:
        return _missing(parts[0], place, walk)
    return _descend(parts, walk, is_eager=is_eager, names=one.names)


def _comes_first(parts: Sequence[str], walk: _Walk) -> bool:
    """Whether the interpreter or the runtime answers: before the package's directories, after its modules."""
    if parts[0] in sys.builtin_module_names:
        return True
    if walk.modules.at(parts[0]) is not None:
        return False
    if parts[0] in PROVIDED or is_standard(parts[0], walk.version):
        return True
    return parts[0] not in walk.modules.directories and why_not(parts[0], walk.version) is not None


def _absent_name(parts: Sequence[str], names: Sequence[str], walk: _Walk) -> _Lack | None:
    """A part of the standard library that this version does not have."""
    dotted = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    for one in (*dotted, *(f"{dotted[-1]}.{name}" for name in names)):
        why = why_not(one, walk.version)
        if why:
            return _Lack(one, why)
    return None


def _missing(top: str, place: str, walk: _Walk) -> _Lack:
    elsewhere = walk.modules.deep.get(top)
    beside = walk.modules.at(f"{place.rpartition('/')[0]}/{top}")
    if elsewhere and (elsewhere.split("/")[0] in walk.libraries or elsewhere == place):
        elsewhere = None
    if elsewhere and beside != place and (beside or walk.modules.is_outside(elsewhere)):
        elsewhere = beside or elsewhere
        return _Lack(
            top,
            f"{top}, which Python does not find: the package has it as {shown(elsewhere)}; put it at the top"
            f" level, or import it by its whole name",
            elsewhere,
        )
    where = (
        "standard library" if walk.version is None else f"standard library of Python {_dotted(walk.version)}"
    )
    return _Lack(
        top,
        f"{top}, which is neither in the package nor in the runtime nor in the {where}; add"
        f" {IMPORTED_AS.get(top, top)} to requirements.txt and build the package again",
        elsewhere,
    )


def _too_high(one: Import, place: str) -> _Lack:
    dotted = "." * one.level + one.module
    module = f"import {one.module}" if one.module else "import it by its name"
    return _Lack(
        f"{place}:{dotted}",
        f"{dotted or '.'}, which leads above the top level of the package, where Python knows no relative"
        f" imports; use a plain one ({module})",
    )


def _descend(parts: Sequence[str], walk: _Walk, *, is_eager: bool, names: Sequence[str] = ()) -> _Lack | None:
    """Follow a dotted module into the package, visiting what Python would run; the part that is not there."""
    for depth in range(1, len(parts) + 1):
        base = "/".join(parts[:depth])
        place = walk.modules.at(base)
        walk.visit(place, is_eager=is_eager)
        if place is None and base not in walk.modules.directories:
            return _not_inside(parts[:depth], walk)
        if place is not None and (parts[0] in walk.libraries or not place.endswith(".py")):
            return None
        if place == f"{base}.py":
            return None if depth == len(parts) else _not_inside(parts[: depth + 1], walk)
    return _submodules(parts, walk, is_eager=is_eager, names=names)


def _submodules(parts: Sequence[str], walk: _Walk, *, is_eager: bool, names: Sequence[str]) -> _Lack | None:
    """What `from package import names` names: of a directory without `__init__` these can only be modules."""
    base = "/".join(parts)
    is_namespace = walk.modules.at(base) is None
    lack = None
    for name in names:
        inside = walk.modules.at(f"{base}/{name}")
        walk.visit(inside, is_eager=is_eager)
        if is_namespace and inside is None and f"{base}/{name}" not in walk.modules.directories:
            lack = lack or _not_inside([*parts, name], walk)
    return lack


def _not_inside(parts: Sequence[str], walk: _Walk) -> _Lack:
    dotted = ".".join(parts)
    mend = "; add the library that brings it to requirements.txt" if parts[0] in walk.libraries else ""
    return _Lack(dotted, f"{dotted}, and the package has no such module{mend}")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
