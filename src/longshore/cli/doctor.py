# SPDX-License-Identifier: Apache-2.0
"""`longshore doctor`"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from longshore.cli import options, output

if TYPE_CHECKING:
    from longshore.settings import Settings

WORDS: Mapping[bool | None, str] = {True: "ok", False: "missing", None: "note"}
RESULTS: Mapping[bool | None, str] = {True: "OPEN", False: "shut", None: "untried"}


def doctor(
    data: options.Data = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Let hostile programs loose in sandboxes; see what they can do.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Say whether this machine can run handlers safely, and what it takes if not."""
    from longshore.cli.settings_given import settings

    given = settings(data=data)
    return _probe(given, as_json=as_json) if probe else _examine(given, as_json=as_json)


def _examine(given: "Settings", *, as_json: bool) -> int:
    from longshore.compose import examine

    findings = asyncio.run(examine(given))
    is_able = all(finding.ok is not False for finding in findings)
    if as_json:
        told = [{"name": one.name, "ok": one.ok, "words": one.words} for one in findings]
        output.document({"able": is_able, "findings": told})
    else:
        output.table(("part", "state", "words"), [(one.name, WORDS[one.ok], one.words) for one in findings])
        output.say("This machine is able to serve." if is_able else "This machine is not able to serve yet.")
    return 0 if is_able else 1


def _probe(given: "Settings", *, as_json: bool) -> int:
    from longshore.compose import ISOLATION_LEVELS, probe_walls

    walls = asyncio.run(probe_walls(given))
    is_shut = all(one.is_open is not True for one in walls.probes)
    if as_json:
        told = [
            {"name": one.name, "result": RESULTS[one.is_open].lower(), "tried": one.tried, "words": one.words}
            for one in walls.probes
        ]
        level = {"level": walls.level, "words": ISOLATION_LEVELS[walls.level], "lacking": list(walls.lacking)}
        output.document({"shut": is_shut, "isolation": level, "levels": ISOLATION_LEVELS, "probes": told})
        return 0 if is_shut else 1
    rows = [(one.name, RESULTS[one.is_open], one.tried, one.words) for one in walls.probes]
    output.table(("probe", "result", "it tried", "it met"), rows)
    for name, words in ISOLATION_LEVELS.items():
        output.say(f"{name}{' (this machine)' if name == walls.level else ''}: {words}.")
    for lacking in walls.lacking:
        output.say(f"Note: {lacking}.")
    opened = [one.name for one in walls.probes if one.is_open]
    output.say("Every probe is shut." if is_shut else f"OPEN: {', '.join(opened)}.")
    return 0 if is_shut else 1
