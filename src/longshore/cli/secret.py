# SPDX-License-Identifier: Apache-2.0
"""`longshore secret ...`: values come from stdin, never from the command line, which others can see."""

import sys
from typing import Annotated

import typer

from longshore.cli import options, output, parsing
from longshore.cli.connection import connected
from longshore.cli.ending import Misused
from longshore.cli.output import Moment
from longshore.domain.secret import Plaintext

app = typer.Typer(help="Secrets: set, list, delete. No verb shows a value.", no_args_is_help=True)

SecretName = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.")]


@app.command("set")
def set_(
    name: SecretName,
    hidden: Annotated[bool, typer.Option("--hidden", help="It can never be shown again, only used.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Keep a secret's value, read from stdin (asked for on a terminal).

    It is kept as it comes, but for one line end at its end, which `echo` adds.
    """
    value = _asked_for(name) if sys.stdin.isatty() else without_line_end(parsing.stdin_text("the value"))
    if not value.reveal():
        raise Misused(f"no value came on stdin; try: printf %s VALUE | longshore secret set {name}")
    with connected() as api:
        answer = api.put(api.place("secrets", name), {"value": value.reveal(), "hidden": hidden})
    for warning in answer.get("warnings", ()):
        output.say(f"warning: {warning}")
    output.done(answer["secret"], f"The secret {name} is set.", as_json=as_json)


def _asked_for(name: str) -> Plaintext:
    from getpass import getpass

    return Plaintext(getpass(f"Value of {output.on_one_line(name)}: ", sys.stderr))


def without_line_end(text: str) -> Plaintext:
    """The text without ONE line end at its end."""
    return Plaintext(
        text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")
    )


@app.command("list")
def list_(limit: options.Limit = 100, as_json: options.AsJson = False) -> None:
    """Names and dates of the project's secrets."""
    with connected() as api:
        found = api.listed(api.place("secrets"), limit=limit)
    if as_json:
        output.document(found)
        return
    rows = [
        (one["name"], one["hidden"], Moment(one["updated_at"]), one["updated_by"]) for one in found["items"]
    ]
    output.table(("name", "hidden", "updated", "by"), rows)


@app.command()
def delete(name: SecretName, as_json: options.AsJson = False) -> None:
    """Forget a secret. Runs that refer to it are refused from then on."""
    with connected() as api:
        api.delete(api.place("secrets", name))
    output.done({"deleted": name}, f"The secret {name} is deleted.", as_json=as_json)
