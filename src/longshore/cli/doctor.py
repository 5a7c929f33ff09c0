# SPDX-License-Identifier: Apache-2.0
"""`longshore doctor`"""

import asyncio
from collections.abc import Mapping

from longshore.cli import options, output

WORDS: Mapping[bool | None, str] = {True: "ok", False: "missing", None: "note"}


def doctor(data: options.Data = None, as_json: options.AsJson = False) -> int:
    """Say whether this machine can run handlers safely, and what it takes if not."""
    from longshore.cli.settings_given import settings
    from longshore.compose import examine

    findings = asyncio.run(examine(settings(data=data)))
    is_able = all(finding.ok is not False for finding in findings)
    if as_json:
        told = [{"name": one.name, "ok": one.ok, "words": one.words} for one in findings]
        output.document({"able": is_able, "findings": told})
    else:
        output.table(("part", "state", "words"), [(one.name, WORDS[one.ok], one.words) for one in findings])
        output.say("This machine is able to serve." if is_able else "This machine is not able to serve yet.")
    return 0 if is_able else 1
