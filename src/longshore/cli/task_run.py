# SPDX-License-Identifier: Apache-2.0
"""`longshore task run`: ask for a run; with --wait or --follow also see it end."""

from typing import TYPE_CHECKING, Annotated

import typer

from longshore.cli import options, output, parsing, run_view, watching
from longshore.cli.connection import connected
from longshore.cli.ending import AnswerLost
from longshore.domain.parameters import type_json

if TYPE_CHECKING:
    from longshore.cli.client import Api, Document


def run(
    name: options.TaskName,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter's value. Repeatable."),
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", metavar="JSON", help="The event: JSON, @file, or - for stdin.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 when it succeeded.")] = False,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> int:
    """Run a task. Ctrl-C while waiting leaves the run alone."""
    body: dict[str, type_json] = {}
    if event is not None:
        body["event"] = parsing.event(event)
    if parameter:
        body["parameters"] = parsing.pairs(parameter, "-p")
    with connected() as api:
        begun = _asked_for(api, name, body)
        if not (wait or follow):
            _show_begun(begun, as_json=as_json)
            return 0
        return _seen_to_its_end(api, begun, follow=follow, as_json=as_json)


def _asked_for(api: "Api", name: str, body: dict[str, type_json]) -> "Document":
    try:
        return api.post(api.place("tasks", name, "runs"), body, headers={"X-Longshore-Trigger": "cli"})
    except AnswerLost as error:
        raise AnswerLost(
            f"{error.sentence}, but see first whether the run was queued: longshore run list --task {name}"
        ) from error


def _show_begun(run: "Document", *, as_json: bool) -> None:
    if as_json:
        output.document(run_view.verdict(run))
        return
    print(output.on_one_line(run["id"]), flush=True)
    if output.is_for_people():
        output.say(f"It is {run['state']}; follow it with: longshore run logs {run['id']} --follow")


def _seen_to_its_end(api: "Api", begun: "Document", *, follow: bool, as_json: bool) -> int:
    if follow:
        ended = watching.followed(api, begun["id"], lambda line: output.log_line(line, to_stderr=as_json))
    else:
        ended = watching.ended(api, begun["id"])
    ended = run_view.with_whole_result(api, ended)
    if as_json:
        output.document(run_view.verdict(ended))
    elif follow:
        output.state(run_view.in_a_line(ended))
    else:
        run_view.sheet(ended, full=False)
    return run_view.exit_code(ended)
