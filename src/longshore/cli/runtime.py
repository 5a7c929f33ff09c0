# SPDX-License-Identifier: Apache-2.0
"""`longshore runtime list | prepare`: the Pythons of this machine. No server is needed."""

import asyncio
from typing import Annotated

import typer

from longshore.cli import options, output
from longshore.cli.ending import Stop

app = typer.Typer(help="The Pythons of this machine that tasks can run on.", no_args_is_help=True)
Ids = Annotated[list[str] | None, typer.Argument(help="Runtimes such as python3.12; all of them by default.")]


@app.command("list")
def list_(data: options.Data = None, as_json: options.AsJson = False) -> int:
    """The runtimes found here, and whether a first run of one starts at once."""
    from longshore.cli.settings_given import settings
    from longshore.compose import find_runtimes

    found = asyncio.run(find_runtimes(settings(data=data)))
    if as_json:
        told = [
            {"id": one.id, "version": one.version, "prepared": one.prepared, "path": str(one.path)}
            for one in found
        ]
        output.document({"items": told})
        return 0
    rows = [
        (one.id, one.version, "prepared" if one.prepared else "at its first run", one.path) for one in found
    ]
    output.table(("runtime", "version", "ready", "interpreter"), rows)
    return 0


@app.command("prepare")
def prepare(ids: Ids = None, data: options.Data = None, as_json: options.AsJson = False) -> int:
    """Fetch runtime client and boto3 for these runtimes now, so that no first run waits for them."""
    from longshore.cli.settings_given import settings
    from longshore.compose import find_runtimes, prepare_runtime

    given = settings(data=data)
    known = [one.id for one in asyncio.run(find_runtimes(given))]
    for id_ in ids or known:
        if id_ not in known:
            raise Stop(f"{id_} is not on this machine; here are {', '.join(known)}")
    for id_ in ids or known:
        output.say(f"Preparing {id_} ...")
        asyncio.run(prepare_runtime(given, id_))
    if as_json:
        output.document({"prepared": ids or known})
    return 0
