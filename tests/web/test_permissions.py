# SPDX-License-Identifier: Apache-2.0
"""Who may what: every route of the description is tried by everybody."""

from collections.abc import Sequence
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from tests.web.house import House

from longshore.domain.project import REACH, Project, Role, Scope
from longshore.http import permissions
from longshore.http.app import create_app
from longshore.http.guard import GuardedRoute, check_routes
from longshore.http.permissions import RULES, Door, NoRule

pytestmark = pytest.mark.anyio

DESCRIBED = sorted(
    (method.upper(), path)
    for path, methods in create_app(SimpleNamespace(version="0")).openapi()["paths"].items()
    for method in methods
)
PRIVATE = [row for row in DESCRIBED if RULES.get(row) is not Door.PUBLIC]
VALUES = {"project": "default", "name": "nothing", "id": "nothing", "bucket": "nothing", "key": "nothing"}


async def answers(
    caller: httpx.AsyncClient, token: str | None, rows: Sequence[tuple[str, str]] = PRIVATE
) -> dict[tuple[str, str], httpx.Response]:
    """What every route says to somebody with this token."""
    headers = {} if token is None else {"Authorization": f"bearer {token}"}
    return {
        (method, path): await caller.request(method, path.format_map(VALUES), headers=headers)
        for method, path in rows
    }


def test_every_described_route_has_a_row_in_the_table() -> None:
    hidden = {row for row in RULES if row[0] == "WS" or not row[1].startswith("/api") or "openapi" in row[1]}

    assert set(DESCRIBED) == set(RULES) - hidden


def test_only_these_routes_are_public() -> None:
    public = {row for row, rule in RULES.items() if rule is Door.PUBLIC}

    assert public == {
        ("GET", "/"),
        ("GET", "/login"),
        ("GET", "/static/{name}"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/health"),
        ("POST", "/api/v1/login"),
        ("POST", "/api/v1/logout"),
    }


@pytest.mark.parametrize("token", [None, "lsh_unknown"])
async def test_without_a_known_token_nothing_private_answers(
    stranger: httpx.AsyncClient, project: Project, token: str | None
) -> None:
    for row, answer in (await answers(stranger, token)).items():
        assert answer.status_code == 401, row
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("role", Role)
async def test_a_role_reaches_as_far_as_its_scope(
    stranger: httpx.AsyncClient, house: House, project: Project, role: Role
) -> None:
    token = await house.token(role, project)

    for row, answer in (await answers(stranger, token)).items():
        rule = RULES[row]
        allowed = rule is Door.KNOWN or (isinstance(rule, Scope) and REACH[role] >= rule)
        assert (answer.status_code not in (401, 403)) == allowed, (row, answer.text)
        assert answer.status_code < 500, (row, answer.text)


async def test_another_projects_token_finds_nothing(
    stranger: httpx.AsyncClient, house: House, project: Project
) -> None:
    token = await house.token(Role.ADMIN, await house.access.ensure_project("other"))

    owned = [row for row in PRIVATE if "{project}" in row[1]]
    for row, answer in (await answers(stranger, token, owned)).items():
        assert answer.status_code == 404, row
        assert row[0] == "HEAD" or "no project 'default'" in answer.json()["detail"]


async def test_a_project_that_exists_and_one_that_does_not_look_the_same(
    stranger: httpx.AsyncClient, house: House, project: Project
) -> None:
    other = await house.access.ensure_project("other")
    headers = {"Authorization": f"Bearer {await house.token(Role.ADMIN, other)}"}

    there = await stranger.get("/api/v1/projects/default/tasks", headers=headers)
    nowhere = await stranger.get("/api/v1/projects/nowhere/tasks", headers=headers)

    assert there.json()["detail"].replace("default", "nowhere") == nowhere.json()["detail"]


def test_a_route_that_is_not_in_the_table_stops_the_start() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    with pytest.raises(NoRule, match="GET /secret has no row"):
        app.router.add_api_route("/secret", lambda: "", methods=["GET"], route_class_override=GuardedRoute)


def test_a_route_without_a_door_stops_the_start() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/api/v1/health", lambda: "")

    with pytest.raises(NoRule, match="without a door"):
        check_routes(app)


def test_a_row_without_a_route_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = {**permissions.RULES, ("GET", "/idle"): Scope.VIEW}
    monkeypatch.setattr("longshore.http.guard.RULES", idle)

    with pytest.raises(NoRule, match="/idle"):
        create_app(SimpleNamespace(version="0"))
