# SPDX-License-Identifier: Apache-2.0
"""Options and arguments that several verbs have, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from longshore.domain.network import NetworkMode
from longshore.domain.task import OnLost, Reuse, SuccessRule

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many items at most.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", file_okay=False, help="The server's data directory (LONGSHORE_DATA)."
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show the log as it is written, to the end.")]

TaskName = Annotated[str, typer.Argument(metavar="NAME", help="The task's name.")]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]
Package = Annotated[
    Path,
    typer.Option("--package", metavar="F.zip", exists=True, dir_okay=False, help="The package to upload."),
]
NewPackage = Annotated[
    Path | None,
    typer.Option("--package", metavar="F.zip", exists=True, dir_okay=False, help="A package to upload."),
]
Handler = Annotated[
    str, typer.Option("--handler", metavar="H", help="FILE.FUNCTION, such as lambda_function.lambda_handler.")
]
NewHandler = Annotated[str | None, typer.Option("--handler", metavar="H", help="FILE.FUNCTION.")]
Runtime = Annotated[str, typer.Option("--runtime", metavar="R", help="Such as python3.11.")]
NewRuntime = Annotated[str | None, typer.Option("--runtime", metavar="R", help="Such as python3.11.")]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="For people.")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="N", help="Cores; may be a fraction.")]
Memory = Annotated[int | None, typer.Option("--memory", metavar="MB", help="Memory in MB.")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="S", help="Seconds a run may take.")]
Disk = Annotated[int | None, typer.Option("--disk", metavar="MB", help="Space for files in MB.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="DECLARATION",
        help="name, name=default, name:type=default, name:choice(a|b)=a; name! is required. Repeatable.",
    ),
]
ParametersFrom = Annotated[
    Path | None,
    typer.Option(
        "--parameters-from",
        metavar="F.json",
        exists=True,
        dir_okay=False,
        help="A JSON list of parameters as the API has them, with units and descriptions.",
    ),
]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="K=V", help="An environment variable. Repeatable."),
]
Location = Annotated[str | None, typer.Option("--location", metavar="L", help="Where its runs go.")]
Success = Annotated[SuccessRule | None, typer.Option("--success", help="What makes a run succeeded.")]
WhenLost = Annotated[OnLost | None, typer.Option("--on-lost", help="When the machine of a run is lost.")]
Reused = Annotated[
    Reuse | None, typer.Option("--reuse", help="Whether a run's environment serves the next run too.")
]
Network = Annotated[NetworkMode | None, typer.Option("--network", help="What its runs reach.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="HOST:PORT", help="Reachable whatever the network is. Repeatable."),
]
