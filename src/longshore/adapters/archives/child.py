# SPDX-License-Identifier: Apache-2.0
"""The process that reads archives nobody has vouched for: little memory, little time, no library of others.

It is run by its path with `-I -S`: one JSON request on its standard input, one JSON answer on its output.
"""

import json
import os
import resource
import sys
from dataclasses import asdict

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 60


def main() -> None:
    """Answer one request. Limits come first, then the imports that read what a stranger wrote."""
    lower(resource.RLIMIT_AS, MEMORY_BYTES)
    lower(resource.RLIMIT_CPU, CPU_SECONDS)
    lower(resource.RLIMIT_CORE, 0)
    here = os.path.abspath(__file__)
    sys.path.append(os.path.normpath(os.path.join(here, *[os.pardir] * 4)))
    request = json.load(sys.stdin)
    json.dump(answer(request["path"], request["handler"], request.get("python")), sys.stdout)


def lower(limit: int, value: int) -> None:
    """Set a limit for good, unless a lower one is in force already."""
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def answer(path: str, handler: str | None, python: list[int] | None) -> dict[str, object]:
    """The inspection, or why the package is refused, as JSON has it."""
    from pathlib import Path

    from longshore.adapters.archives.check import check
    from longshore.domain.archive import PackageTooLarge
    from longshore.domain.errors import BadPackage

    try:
        version = (python[0], python[1]) if python else None
        return {"inspection": asdict(check(Path(path), handler=handler, python=version))}
    except BadPackage as error:
        too_large = isinstance(error, PackageTooLarge)
        return {"refused": error.message, "entry": error.entry, "too_large": too_large}
    except OSError as error:
        return {"unreadable": str(error)}


if __name__ == "__main__":
    main()
