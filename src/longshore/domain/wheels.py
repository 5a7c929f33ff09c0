# SPDX-License-Identifier: Apache-2.0
"""Libraries that an installer laid into a package, and those that cannot work where the package is to run.

    numpy/...                          what one imports
    numpy-1.26.4.dist-info/WHEEL       what it was built for
    numpy-1.26.4.dist-info/RECORD      its files; or top_level.txt, its names

The files are a stranger's: each is read up to a limit and counts as absent when it makes no sense.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from longshore.domain.wheel_tags import (
    MAX_WHEEL_BYTES,
    Tag,
    Target,
    fits,
    fits_machine,
    how_to_build,
    is_native,
    tag_of_file,
    tags_of,
)

MAX_LIBRARIES = 1000
MAX_RECORD_BYTES = 16 * 1024 * 1024
"""All lists of files together; who has more is not told which names are a library's."""

_SEPARATORS = re.compile(r"[-_.]+")
_DO_WITHOUT = frozenset(
    {"aiohttp", "awslambdaric", "charset-normalizer", "coverage", "frozenlist", "greenlet", "immutables"}
    | {"lazy-object-proxy", "markupsafe", "msgpack", "multidict", "propcache", "protobuf", "pyrsistent"}
    | {
        "pyyaml",
        "simplejson",
        "sqlalchemy",
        "tornado",
        "websockets",
        "wrapt",
        "yaml",
        "yarl",
        "zope-interface",
    }
)
"""Libraries (and import names) whose compiled part only makes them faster, or is the runtime's own, or
comes along with a library that mostly works without it (greenlet)."""
IMPORTED_AS = {
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "telegram": "python-telegram-bot",
    "websocket": "websocket-client",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
"""Import names of well-known libraries that are called otherwise."""

Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One installed library. `home` is the directory it lies in, `""` or with a slash at its end;
    `tops` are the names it brings there, none when nothing tells them."""

    name: str
    version: str
    wheel: str
    home: str
    tags: tuple[Tag, ...]
    tops: frozenset[str]

    @property
    def can_do_without(self) -> bool:
        """Whether it works, only slower, without its compiled part."""
        return normalized(self.name) in _DO_WITHOUT

    def works_on(self, target: Target) -> bool:
        """Whether it says that it was built for this, or says nothing."""
        return not self.tags or any(fits(tag, target) for tag in self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Something that was built for another place. `is_certain`: it cannot work."""

    entry: str
    message: str
    is_certain: bool


def normalized(name: str) -> str:
    """A library's name as indexes compare it."""
    return _SEPARATORS.sub("-", name).lower()


def libraries(names: Collection[str], read: Read) -> tuple[Library, ...]:
    """The libraries whose installers left a `.dist-info`, wherever in the package they lie."""
    known = set(names)
    wheels = sorted(name for name in known if name.endswith(".dist-info/WHEEL"))[:MAX_LIBRARIES]
    present = _present({_home_name_version(wheel.removesuffix("/WHEEL"))[0] for wheel in wheels}, known)
    left = MAX_RECORD_BYTES
    found: list[Library] = []
    for wheel in wheels:
        info = wheel.removesuffix("/WHEEL")
        home, name, version = _home_name_version(info)
        tops, cost = _tops(info, known, read, left)
        left -= cost
        found.append(
            Library(
                name=name,
                version=version,
                wheel=wheel,
                home=home,
                tags=tags_of((read(wheel) or b"")[:MAX_WHEEL_BYTES]),
                tops=tops or _guessed(name, present[home]),
            )
        )
    return tuple(found)


def misfits(names: Collection[str], read: Read, target: Target) -> Iterator[Misfit]:
    """What in a package was built for another Python, platform or C library than the target's."""
    known = set(names)
    found = libraries(known, read)
    natives = sorted(name for name in known if is_native(name))
    owned = _by_library(found, natives)
    for library in found:
        misfit = _misfit(library, owned[library.wheel], known, target)
        if misfit:
            yield misfit
    everyones = {name for own in owned.values() for name in own}
    if all(library.tops for library in found):
        yield from _loose([name for name in natives if name not in everyones], known, target)


def tops_in(record: bytes) -> frozenset[str]:
    """The import names among a RECORD's paths."""
    found: set[str] = set()
    for line in record.splitlines():
        first, slash, _ = line[:1024].lstrip(b'"').partition(b"/")
        first = first if slash else first.partition(b",")[0].partition(b".")[0]
        found.add(first.decode(errors="replace"))
    return frozenset(name for name in found if name.isidentifier() and name not in ("bin", "__pycache__"))


def _home_name_version(info: str) -> tuple[str, str, str]:
    """`lib/numpy-1.26.4.dist-info` is in the home `lib/`."""
    home, slash, directory = info.rpartition("/")
    name, _, version = directory.removesuffix(".dist-info").partition("-")
    return home + slash, name, version


def _places(name: str) -> Iterator[tuple[str, str]]:
    """Every home that a file could belong to, with the name that begins there: of a/b/c.so those are
    ("", "a"), ("a/", "b") and ("a/b/", "c.so")."""
    at = 0
    while at >= 0:
        end = name.find("/", at)
        yield name[:at], name[at:end] if end >= 0 else name[at:]
        at = end + 1 if end >= 0 else -1


def _present(homes: Collection[str], names: Iterable[str]) -> Mapping[str, set[str]]:
    """The import names that each of these directories has."""
    found: dict[str, set[str]] = {home: set() for home in homes}
    for name in names:
        for home, top in _places(name):
            if home in found:
                found[home].add(top.split(".")[0])
    return found


def _tops(info: str, names: Collection[str], read: Read, left: int) -> tuple[frozenset[str], int]:
    """A library's import names, and how many bytes it took to know them."""
    listed = f"{info}/top_level.txt"
    said = read(listed) if listed in names and left > 0 else None
    if said:
        words = said[:MAX_WHEEL_BYTES].decode(errors="replace").split()
        return frozenset(word.split("/")[0] for word in words), len(said)
    record = f"{info}/RECORD"
    said = read(record) if record in names and left > 0 else None
    if said is None or len(said) > left:
        return frozenset(), 0
    return tops_in(said), len(said)


def _guessed(name: str, present: Iterable[str]) -> frozenset[str]:
    """Of the package's names those that a library of that name usually brings."""
    wanted = normalized(name)
    return frozenset(
        one for one in present if one and wanted in (normalized(one), normalized(IMPORTED_AS.get(one, one)))
    )


def _by_library(found: Sequence[Library], natives: Iterable[str]) -> Mapping[str, list[str]]:
    """The compiled files of each library, by its `wheel`."""
    owners = {library.home + top: library.wheel for library in found for top in library.tops}
    # numpy's wheels bring numpy.libs for what numpy's own files link to
    owners |= {f"{library.home}{library.name}.libs": library.wheel for library in found}
    owned: dict[str, list[str]] = defaultdict(list)
    for name in natives:
        for home, top in _places(name):
            owner = owners.get(home + top) or owners.get(home + top.split(".")[0])
            if owner:
                owned[owner].append(name)
                break
    return owned


def _misfit(
    library: Library, natives: Sequence[str], names: Collection[str], target: Target
) -> Misfit | None:
    if library.works_on(target):
        return None
    certain = _cannot_work(library, natives, names, target)
    if certain is None:
        return None
    certain = certain and not library.can_do_without
    what = f"{library.name} {library.version}".strip()
    return Misfit(
        entry=library.wheel,
        message=_sentence(what, library.tags, target, is_certain=certain),
        is_certain=certain,
    )


def _cannot_work(
    library: Library, natives: Sequence[str], names: Collection[str], target: Target
) -> bool | None:
    """Whether a library whose tags do not fit certainly fails; None when it works all the same."""
    if natives:
        return True if any(_is_needed(name, names) for name in natives) else None
    if not library.tops:
        return True
    is_foreign = not any(fits_machine(tag, target) for tag in library.tags)
    is_pure = all(tag.platform == "any" for tag in library.tags)
    return False if is_foreign or is_pure else None


def _loose(natives: Iterable[str], names: Collection[str], target: Target) -> Iterator[Misfit]:
    """Compiled modules that no installer vouches for, judged by their names: one misfit a library."""
    modules: dict[str, list[tuple[str, Tag]]] = defaultdict(list)
    for name in natives:
        tag = tag_of_file(name)
        if tag is not None and _is_needed(name, names):
            modules[module_of(name)].append((name, tag))
    told: set[str] = set()
    for module, built in modules.items():
        top = module.split("/")[0]
        if top in told or f"{module}.abi3.so" in names or any(fits(tag, target) for _, tag in built):
            continue
        told.add(top)
        name, tag = built[0]
        is_certain = normalized(top) not in _DO_WITHOUT
        message = _sentence(name, [tag], target, is_certain=is_certain)
        yield Misfit(entry=name, message=message, is_certain=is_certain)


def module_of(name: str) -> str:
    """A compiled module's path without all its suffixes."""
    directory, slash, file = name.rpartition("/")
    return directory + slash + file.split(".")[0]


def _is_needed(native: str, names: Collection[str]) -> bool:
    """Not a compiled module beside its own source (Python takes that instead), nor mypyc's part of one."""
    module = module_of(native)
    return not module.endswith("__mypyc") and f"{module}.py" not in names


def _sentence(what: str, tags: Sequence[Tag], target: Target, *, is_certain: bool) -> str:
    there = "the task runs on" if target.python is not None else "tasks run on"
    able = "" if is_certain else " It may work without its compiled part."
    return (
        f"{what} is built for {tags[0].words}, and {there} {target.words}; build the package again:"
        f" {how_to_build(tags, target)}.{able}"
    )
