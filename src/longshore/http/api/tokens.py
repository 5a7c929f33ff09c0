# SPDX-License-Identifier: Apache-2.0
"""A project's tokens."""

from datetime import timedelta

from fastapi import APIRouter

from longshore.domain.ids import TokenId
from longshore.http.api.models import MadeToken, NewToken, Token
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import PROJECT

router = APIRouter(prefix=f"{PROJECT}/tokens", route_class=GuardedRoute, tags=["tokens"])


@router.get("")
async def list_tokens(house: HouseDep, project: ProjectDep, part: PartDep) -> Listing[Token]:
    """The project's bearer tokens, newest last; their values are not kept."""
    found = await house.access.tokens(project, part.page)
    return part.listing(found, lambda token: Token.of(token, project.slug), lambda token: token.id)


@router.post("", status_code=201)
async def create_token(body: NewToken, house: HouseDep, actor: ActorDep, project: ProjectDep) -> MadeToken:
    """A new token; this answer is the only one that has its value."""
    days = body.expires_in_days
    token, value = await house.access.create_token(
        body.name,
        body.role,
        project,
        by=actor,
        expires_in=None if days is None else timedelta(days=days),
    )
    return MadeToken(**Token.of(token, project.slug).model_dump(), token=value)


@router.delete("/{id}", status_code=204)
async def revoke_token(id: str, house: HouseDep, project: ProjectDep) -> None:
    """End a token at once."""
    await house.access.revoke(project, TokenId(id))
