# SPDX-License-Identifier: Apache-2.0
"""`longshore serve`"""

from enum import StrEnum
from typing import Annotated

import typer

from longshore.cli import options


class Isolation(StrEnum):
    """How handlers are isolated."""

    AUTO = "auto"
    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"


def serve(
    data: options.Data = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen (127.0.0.1:8700).")
    ] = None,
    sandbox: Annotated[
        Isolation | None, typer.Option("--sandbox", help="'process' isolates nothing: for trusted code only.")
    ] = None,
) -> None:
    """Serve, with an interceptor and everything else in this process, until Ctrl-C.

    Prints "Longshore is ready: URL" when it is. Other settings come from LONGSHORE_* variables.
    """
    from longshore.cli.settings_given import settings

    wanted = settings(data=data, listen=listen, sandbox=sandbox.value if sandbox else None)
    from longshore.serve import serve as begin

    begin(wanted)
