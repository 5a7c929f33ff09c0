# SPDX-License-Identifier: Apache-2.0
"""Runtimes: Lambda's ids, and the names that Carrier's users know them by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from longshore.domain.errors import Invalid

_PYTHON = re.compile(r"python ?(3)\.(0|[1-9][0-9]?)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime by its Lambda id, such as `python3.11`, with its version."""

    id: str
    version: tuple[int, int]

    @property
    def is_python(self) -> bool:
        """Whether its packages are Python code."""
        return self.id.startswith("python")


def runtime(name: str) -> Runtime:
    """The runtime of that id or Carrier name (`Python 3.7`); raises Invalid for what nobody here can run."""
    found = _PYTHON.fullmatch(name.strip())
    if not found:
        raise Invalid(
            f"{name[:40]!r} is not a runtime here: it takes a version of Python 3,"
            " such as python3.11 or 'Python 3.7'",
            field="runtime",
        )
    major, minor = int(found[1]), int(found[2])
    return Runtime(id=f"python{major}.{minor}", version=(major, minor))


def nearest(wanted: tuple[int, int], present: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """The version that stands in for a missing one: the nearest newer, else the nearest older."""
    versions = sorted(present)
    newer = [version for version in versions if version >= wanted]
    return newer[0] if newer else (versions[-1] if versions else None)


def runs_on(wanted: Runtime, present: Iterable[str]) -> tuple[int, int]:
    """The Python version that a task really gets where these runtimes are; the wanted one where none is."""
    found = (_PYTHON.fullmatch(one) for one in present)
    return nearest(wanted.version, ((int(one[1]), int(one[2])) for one in found if one)) or wanted.version


def stands_in(wanted: Runtime, present: str) -> str | None:
    """The sentence for a run whose Python version the machine does not have; None when it has it."""
    if wanted.id == present:
        return None
    return f"{wanted.id} is not on this machine; the run uses {present}"
