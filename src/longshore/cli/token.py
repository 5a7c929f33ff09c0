# SPDX-License-Identifier: Apache-2.0
"""`longshore token ...`: who may come in.

Whoever has the data directory in hand needs no token: that is how the first one is made, also while the
server runs. `list` and `revoke` ask the server, or with --data the directory, which alone knows the tokens
that reach all projects.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from longshore.cli import options, output
from longshore.cli.connection import connected
from longshore.cli.ending import Misused
from longshore.cli.output import Moment
from longshore.domain.ids import TokenId
from longshore.domain.parameters import type_json
from longshore.domain.project import Actor, Project, Role, Token

if TYPE_CHECKING:
    from longshore.services.access import AccessService

app = typer.Typer(help="Tokens: who may call, and how far they reach.", no_args_is_help=True)

ProjectSlug = Annotated[
    str | None, typer.Option("--project", metavar="SLUG", help="For this project only; else all projects.")
]
T = TypeVar("T")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is, for people.")],
    role: Annotated[Role, typer.Option("--role", help="How far it reaches.")],
    project: ProjectSlug = None,
    expires: Annotated[
        int | None, typer.Option("--expires", min=1, max=36_500, metavar="DAYS", help="How long it lives.")
    ] = None,
    data: options.Data = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a token with the data directory in hand. It is shown this once."""
    lives = timedelta(days=expires) if expires else None

    async def make(access: "AccessService") -> tuple[Token, str]:
        return await access.create_token(
            name, role, await _project(access, project), by=None, expires_in=lives
        )

    token, value = _in_directory(data, make)
    if as_json:
        output.document({"token": value, **_shown(token, project)})
        return
    print(value, flush=True)
    reach = f"in the project {project}" if project else "in all projects"
    output.say(f"{name} is {role} {reach}. Keep it: it cannot be shown again. export LONGSHORE_TOKEN=...")


@app.command("list")
def list_(
    project: ProjectSlug = None,
    data: options.Data = None,
    limit: options.Limit = 100,
    as_json: options.AsJson = False,
) -> None:
    """Tokens of a project (LONGSHORE_PROJECT); with --data and no --project those that reach all projects."""
    if data is None:
        _refuse_project(project)
        with connected() as api:
            found = api.listed(api.place("tokens"), limit=limit)
    else:
        found = {"items": _in_directory(data, lambda access: _listed(access, project, limit)), "next": None}
    if as_json:
        output.document(found)
        return
    times = ("created_at", "expires_at", "used_at")
    rows = [
        (one["id"], one["name"], one["role"], one["project"], *(_moment(one[name]) for name in times))
        for one in found["items"]
    ]
    output.table(("id", "name", "role", "project", "created", "expires", "used"), rows)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `token list` shows it.")],
    project: ProjectSlug = None,
    data: options.Data = None,
    as_json: options.AsJson = False,
) -> None:
    """End a token at once."""
    if data is None:
        _refuse_project(project)
        with connected() as api:
            api.delete(api.place("tokens", token))
    else:
        _in_directory(data, lambda access: _revoked(access, project, token))
    output.done({"revoked": token}, f"The token {token} is revoked.", as_json=as_json)


def _refuse_project(project: str | None) -> None:
    if project is not None:
        raise Misused(
            "--project goes with --data; the server is asked about the project in LONGSHORE_PROJECT"
        )


def _in_directory(data: Path | None, ask: "Callable[[AccessService], Awaitable[T]]") -> T:
    """What asking the services over a data directory brings; its server may run."""
    from longshore.cli.settings_given import settings
    from longshore.compose import open_access

    place = settings(data=data).data
    if not place.exists():
        output.say(f"{place} is new; start its server with: longshore serve --data {place}")

    async def asked() -> T:
        async with open_access(place) as access:
            return await ask(access)

    return asyncio.run(asked())


async def _project(access: "AccessService", slug: str | None) -> Project | None:
    owner = Actor(name="the owner of the data directory", role=Role.ADMIN, project_id=None)
    return None if slug is None else await access.project(slug, owner)


async def _listed(access: "AccessService", slug: str | None, limit: int) -> list[dict[str, type_json]]:
    from longshore.ports.store import Page

    tokens = await access.tokens(await _project(access, slug), Page(limit=limit))
    return [_shown(token, slug) for token in tokens]


async def _revoked(access: "AccessService", slug: str | None, token: str) -> None:
    await access.revoke(await _project(access, slug), TokenId(token))


def _shown(token: Token, project: str | None) -> dict[str, type_json]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "project": project,
        "created_at": _z(token.created_at),
        "expires_at": _z(token.expires_at),
        "used_at": _z(token.used_at),
    }


def _z(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _moment(at: str | None) -> Moment | None:
    return Moment(at) if at else None
