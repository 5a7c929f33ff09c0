# SPDX-License-Identifier: Apache-2.0
"""What installers laid into a package, against the machine that will run it; see `domain.wheels`."""

import os

from longshore.adapters.archives.handler import Sources
from longshore.domain.archive import MAX_SAME_FINDINGS, Finding, Level
from longshore.domain.wheel_tags import Target, this_libc
from longshore.domain.wheels import libraries, misfits


def here(python: tuple[int, int] | None) -> Target:
    """That Python (None: nobody knows which) on a machine like this one."""
    return Target(python=python, machine=os.uname().machine, libc=this_libc())


def wrong_wheels(sources: Sources, target: Target) -> list[Finding]:
    """A finding for every library that was built for another place than the target's. Errors first."""
    found = [
        Finding(
            level=Level.ERROR if one.is_certain else Level.WARNING,
            code="wheel",
            message=one.message,
            entry=one.entry,
        )
        for one in misfits(sources.names, sources.read, target)
    ]
    return sorted(found, key=lambda one: one.level is not Level.ERROR)[:MAX_SAME_FINDINGS]


def import_names(sources: Sources) -> frozenset[str]:
    """The names at the package's top level that are libraries' and not the author's own.

    A library that nobody knows the names of may own all of them.
    """
    found = [one for one in libraries(sources.names, sources.read) if not one.home]
    if all(one.tops for one in found):
        return frozenset().union(*(one.tops for one in found), _of_eggs(sources))
    return frozenset(name.split("/")[0].split(".")[0] for name in sources.names)


def _of_eggs(sources: Sources) -> frozenset[str]:
    """What older installers say: `NAME.egg-info/top_level.txt`."""
    listed = [
        name for name in sources.names if name.endswith(".egg-info/top_level.txt") and name.count("/") == 1
    ]
    said = [sources.read(name) or b"" for name in sorted(listed)[:100]]
    return frozenset(word for text in said for word in text[:10_000].decode("latin-1").split())
