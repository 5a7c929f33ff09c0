# SPDX-License-Identifier: Apache-2.0
"""For which Python and machine a wheel or a compiled module was built, and whether it is the one at hand.

    Tag: cp311-cp311-manylinux_2_17_x86_64          _x.cpython-311-x86_64-linux-gnu.so
         Python ABI  platform

What is not understood fits: a false alarm would teach people to ignore the true ones.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

MAX_TAGS = 64
MAX_WHEEL_BYTES = 64 * 1024
_LINUX = re.compile(r"(linux|manylinux1|manylinux20\d\d|manylinux_\d+_\d+|musllinux_\d+_\d+)_(\w+)")
_CPYTHON = re.compile(r"cp3(\d{1,2})([a-z]*)")
_NATIVE = re.compile(r"\.(?:so|pyd|dylib|dll)(?:\.\d+){0,4}$")
_SUFFIX = re.compile(r"\.(cpython-3|cp3|pypy)(\d{1,2})([a-z]*)(?:-([\w-]+))?\.(?:so|pyd)$")
_FOREIGN = {"macosx": "macOS", "win": "Windows", "ios": "iOS", "android": "Android", "pyodide": "a browser"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "arm": "armv7l", "powerpc64le": "ppc64le"}
_PLATFORMS_OF_UV = {"x86_64", "aarch64", "riscv64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What runs a package: the Python (None when nobody has said which), the processor, `glibc` or `musl`."""

    python: tuple[int, int] | None
    machine: str
    libc: str

    @property
    def words(self) -> str:
        """As a sentence names it."""
        place = f"Linux {_machine(self.machine)} ({self.libc})"
        return place if self.python is None else f"Python {_dotted(self.python)} on {place}"


@dataclass(frozen=True, slots=True)
class Tag:
    """One combination that something was built for; see packaging.python.org, platform compatibility tags."""

    python: str
    abi: str
    platform: str

    @property
    def words(self) -> str:
        """As a sentence names it."""
        found = _CPYTHON.fullmatch(self.python)
        if self.abi.startswith("pypy"):
            python = "PyPy"
        elif self.python.startswith(("py2", "cp2")):
            python = "Python 2"
        elif self.abi == "none" or not found:
            python = ""
        else:
            more = " and newer" if self.abi.startswith("abi3") else ""
            python = f"{_free(self.abi)}CPython 3.{found[1]}{more}"
        place = _place(self.platform)
        return f"{python} on {place}" if python and place else python or place or "another Python"


def this_libc() -> str:
    """The C library of this machine. A machine that is no Linux builds for those that are."""
    try:
        return "glibc" if os.uname().sysname != "Linux" or os.confstr("CS_GNU_LIBC_VERSION") else "musl"
    except (ValueError, OSError):
        return "musl"


def tags_of(wheel: bytes) -> tuple[Tag, ...]:
    """The tags in a `WHEEL` file; none in one that is no such file."""
    found: list[Tag] = []
    for line in wheel[:MAX_WHEEL_BYTES].decode("latin-1").splitlines():
        key, _, value = line.partition(":")
        parts = [part.split(".") for part in value.strip().lower().split("-")]
        if key.strip().lower() == "tag" and len(parts) == 3:
            found += (Tag(*one) for one in islice(product(*parts), MAX_TAGS))
        if len(found) >= MAX_TAGS:
            break
    return tuple(found)


def tag_of_file(name: str) -> Tag | None:
    """What a compiled module's file name says of it; None when it says nothing, or `abi3`."""
    found = _SUFFIX.search(name.rsplit("/", 1)[-1])
    if not found:
        return Tag("py3", "none", "win") if name.endswith(".pyd") else None
    kind, minor, flags, triplet = found.groups()
    if kind == "pypy":
        return Tag(f"pp{minor}", "pypy", _platform_of(triplet or ""))
    return Tag(f"cp3{minor}", f"cp3{minor}{flags}", _platform_of(triplet or ""))


def is_native(name: str) -> bool:
    """Whether a file is compiled for one kind of machine, by its name."""
    return bool(_NATIVE.search(name))


def fits(tag: Tag, target: Target) -> bool:
    """Whether what has this tag works there."""
    return fits_machine(tag, target) and _fits_python(tag, target.python)


def fits_machine(tag: Tag, target: Target) -> bool:
    """Whether its platform is the target's, whatever the Python."""
    found = _LINUX.fullmatch(tag.platform)
    if not found:
        return not tag.platform.startswith(tuple(_FOREIGN))
    family, machine = found.groups()
    if family != "linux" and target.libc != ("musl" if family.startswith("musl") else "glibc"):
        return False
    return not target.machine or _machine(machine) == _machine(target.machine)


def how_to_build(tags: Sequence[Tag], target: Target) -> str:
    """The command that makes a package for the target out of one that was made for these tags."""
    command = "longshore package build DIR -o F.zip"
    if target.python is not None:
        command += f" --python {_dotted(target.python)}"
    machine = _machine(target.machine)
    if machine in _PLATFORMS_OF_UV and not any(fits_machine(tag, target) for tag in tags):
        command += f" --platform {machine}-unknown-linux-{'musl' if target.libc == 'musl' else 'gnu'}"
    return command


def _fits_python(tag: Tag, python: tuple[int, int] | None) -> bool:
    if tag.python.startswith(("py2", "cp2")) or tag.abi.startswith(("pypy", "graalpy")):
        return False
    if tag.abi.startswith("abi3"):
        oldest = _CPYTHON.fullmatch(tag.python)
        return python is None or not oldest or int(oldest[1]) <= python[1]
    built = _CPYTHON.fullmatch(tag.abi)
    if not built:
        return True
    return "t" not in built[2] and (python is None or (3, int(built[1])) == python)


def _free(abi: str) -> str:
    found = _CPYTHON.fullmatch(abi)
    return "free-threaded " if found and "t" in found[2] else ""


def _place(platform: str) -> str:
    found = _LINUX.fullmatch(platform)
    if found:
        libc = {"m": " (glibc)", "l": ""}[found[1][0]] if not found[1].startswith("musl") else " (musl)"
        return f"Linux {_machine(found[2])}{libc}"
    for start, words in _FOREIGN.items():
        if platform.startswith(start):
            machine = re.search(r"(x86_64|amd64|arm64|aarch64|universal2)$", platform)
            return f"{words} {_machine(machine[1])}" if machine else words
    return ""


def _platform_of(triplet: str) -> str:
    """`x86_64-linux-gnu` as a wheel would name it; not every Python of musl's says that it is one."""
    machine, _, rest = triplet.partition("-linux-")
    if rest:
        family = "musllinux_1_0" if rest.startswith("musl") else "linux"
        return f"{family}_{_machine(machine)}"
    if triplet == "darwin":
        return "macosx"
    return triplet if triplet.startswith("win") else "any"


def _machine(name: str) -> str:
    return _MACHINES.get(name.lower(), name.lower())


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
