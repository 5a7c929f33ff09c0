# SPDX-License-Identifier: Apache-2.0
"""`longshore run ...`"""

from typing import TYPE_CHECKING, Annotated

import typer

from longshore.cli import options, output, run_view, watching
from longshore.cli.connection import connected
from longshore.domain.run import RunState

if TYPE_CHECKING:
    from longshore.cli.client import Api

app = typer.Typer(help="Runs: what they are doing, what they said, what came of them.", no_args_is_help=True)


@app.command()
def show(run: options.RunId, as_json: options.AsJson = False) -> None:
    """A run with its result, usage and files."""
    with connected() as api:
        found = run_view.with_whole_result(api, api.get(api.place("runs", run)))
    output.document(found) if as_json else run_view.sheet(found, full=True)


@app.command()
def logs(run: options.RunId, follow: options.Follow = False, as_json: options.AsJson = False) -> None:
    """A run's log; with --follow as it is written, until the run is over."""
    with connected() as api:
        if as_json:
            _as_one_document(api, run, follow)
        elif follow:
            output.state(run_view.in_a_line(watching.followed(api, run, output.log_line)))
        else:
            for line in watching.lines(api, run):
                output.log_line(line)


def _as_one_document(api: "Api", run: str, follow: bool) -> None:
    """{"items": [...]}, a line of output for each line of the log, however many there are."""
    with output.items() as put:
        if follow:
            watching.followed(api, run, put)
        else:
            for line in watching.lines(api, run):
                put(line)


@app.command()
def cancel(run: options.RunId, as_json: options.AsJson = False) -> None:
    """Ask a run to end."""
    with connected() as api:
        found = api.post(api.place("runs", run, "cancel"))
    over = "is cancelled" if watching.is_over(found) else "is being cancelled"
    output.done(found, f"The run {found['id']} {over}.", as_json=as_json)


@app.command("list")
def list_(
    task: Annotated[str | None, typer.Option("--task", metavar="NAME", help="Of this task only.")] = None,
    state: Annotated[RunState | None, typer.Option("--state", help="In this state only.")] = None,
    limit: options.Limit = 50,
    as_json: options.AsJson = False,
) -> None:
    """Runs, newest first."""
    with connected() as api:
        found = api.listed(api.place("runs"), limit=limit, task=task, state=state)
    output.document(found) if as_json else run_view.listing(found["items"])
