# SPDX-License-Identifier: Apache-2.0
"""A project's secrets."""

from fastapi import APIRouter

from longshore.domain.secret import Plaintext
from longshore.http.api.models import NewSecret, SavedSecret, Secret, SecretValue
from longshore.http.auth import ActorDep, ProjectDep
from longshore.http.context import HouseDep
from longshore.http.guard import GuardedRoute
from longshore.http.paging import Listing, PartDep
from longshore.http.permissions import PROJECT

router = APIRouter(prefix=f"{PROJECT}/secrets", route_class=GuardedRoute, tags=["secrets"])


@router.get("")
async def list_secrets(house: HouseDep, project: ProjectDep, part: PartDep) -> Listing[Secret]:
    """Names and dates, no values."""
    found = await house.secrets.list(project, part.page)
    return part.listing(found, Secret.of, lambda secret: secret.name)


@router.put("/{name}")
async def put_secret(
    name: str, body: NewSecret, house: HouseDep, actor: ActorDep, project: ProjectDep
) -> SavedSecret:
    """Keep a value verbatim, replacing the one before."""
    value = Plaintext(body.value.get_secret_value())
    secret, warnings = await house.secrets.put(project, name, value, hidden=body.hidden, actor=actor)
    return SavedSecret(secret=Secret.of(secret), warnings=list(warnings))


@router.get("/{name}/value")
async def reveal_secret(name: str, house: HouseDep, project: ProjectDep) -> SecretValue:
    """The value; a hidden one is never shown (403)."""
    return SecretValue(value=(await house.secrets.reveal(project, name)).reveal())


@router.delete("/{name}", status_code=204)
async def delete_secret(name: str, house: HouseDep, project: ProjectDep) -> None:
    """Forget a secret."""
    await house.secrets.delete(project, name)
