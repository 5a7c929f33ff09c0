# SPDX-License-Identifier: Apache-2.0
"""Runtimes: Lambda's ids, and the names that Carrier's users know them by."""

import re
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


def stands_in(wanted: Runtime, present: str) -> str | None:
    """The sentence for a run whose Python version the machine does not have; None when it has it."""
    if wanted.id == present:
        return None
    return f"{wanted.id} is not on this machine; the run uses {present}"
