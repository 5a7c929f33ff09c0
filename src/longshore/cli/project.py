# SPDX-License-Identifier: Apache-2.0
"""`longshore project ...`"""

from typing import Annotated

import typer

from longshore.cli import options, output
from longshore.cli.connection import connected
from longshore.cli.output import Moment

app = typer.Typer(help="Projects: rooms of their own for tasks, secrets and files.", no_args_is_help=True)


@app.command()
def create(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Lower-case letters, digits, hyphens.")],
    as_json: options.AsJson = False,
) -> None:
    """Make a project; takes an admin's token that reaches all projects."""
    with connected() as api:
        made = api.post(api.projects, {"slug": slug})
    output.done(
        made, f"The project {slug} is made; use it with: export LONGSHORE_PROJECT={slug}", as_json=as_json
    )


@app.command("list")
def list_(limit: options.Limit = 100, as_json: options.AsJson = False) -> None:
    """The projects that the token reaches."""
    with connected() as api:
        found = api.listed(api.projects, limit=limit)
    if as_json:
        output.document(found)
        return
    output.table(("project", "created"), [(one["slug"], Moment(one["created_at"])) for one in found["items"]])
