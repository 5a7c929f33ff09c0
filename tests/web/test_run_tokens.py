# SPDX-License-Identifier: Apache-2.0
"""The token of a run: what a handler may do with it, and that it dies with the run."""

import httpx
import pytest
from starlette.types import ASGIApp
from tests.web.conftest import P
from tests.web.house import BASE, Hand, House, a_zip

from longshore.domain.order import Lease
from longshore.domain.project import Project
from longshore.domain.run_token import PREFIX

pytestmark = pytest.mark.anyio


async def a_lease(api: httpx.AsyncClient, house: House, **more: str) -> Lease:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    draft = {"name": "echo", "runtime": "python3.11", "handler": "app.handler", "package": "echo.zip"}
    await api.post("/tasks", json={**draft, **more})
    await api.post("/tasks/echo/runs", json={})
    return await Hand(house).take()


def handler(app: ASGIApp, lease: Lease) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {lease.token.reveal()}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE, headers=headers)


async def test_a_run_reads_writes_artifacts_and_runs_tasks_of_its_project(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house)
    async with handler(app, lease) as run:
        put = await run.put(f"{P}/buckets/reports/objects/r.txt", content=b"report")
        got = await run.get(f"{P}/buckets/reports/objects/r.txt")
        runs = await run.get(f"{P}/runs/{lease.run}")
        begun = await run.post(f"{P}/tasks/echo/runs", json={})

    assert (put.status_code, got.content, runs.status_code) == (201, b"report", 200)
    assert put.json()["artifact"]["updated_by"] == "run of echo"
    assert begun.status_code == 202


async def test_a_run_changes_nothing_that_makes_or_outlives_runs(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house)
    await house.access.ensure_project("other")
    async with handler(app, lease) as run:
        refused = {
            "package": await run.put(f"{P}/buckets/tasks/objects/echo.zip", content=a_zip()),
            "task": await run.patch(f"{P}/tasks/echo", json={"description": "x"}),
            "secret": await run.put(f"{P}/secrets/S", json={"value": "v"}),
            "read": await run.get(f"{P}/secrets/S/value"),
            "delete": await run.delete(f"{P}/buckets/reports/objects/r.txt"),
            "token": await run.post(f"{P}/tokens", json={"name": "t", "role": "viewer"}),
            "link": await run.post("/api/v1/login-links"),
            "login": await run.post("/api/v1/login", json={"code": lease.token.reveal()}),
        }
        runs_bucket = await run.put(f"{P}/buckets/runs/objects/x", content=b"x")
        elsewhere = await run.get("/api/v1/projects/other/runs")

    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 403)
    assert runs_bucket.status_code == 409
    assert elsewhere.status_code == 404


async def test_the_token_dies_with_the_run(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house)
    async with handler(app, lease) as run:
        before = await run.get("/api/v1/me")
        await Hand(house).end(lease)
        after = await run.get("/api/v1/me")

    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_run_that_is_lost_loses_its_token(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house)

    await house.dispatch.recover()

    async with handler(app, lease) as run:
        assert (await run.get("/api/v1/me")).status_code == 401


async def test_the_attempt_that_comes_after_has_another(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house, on_lost="run_again")
    await house.dispatch.recover()
    again = await Hand(house).take()

    async with handler(app, lease) as late, handler(app, again) as run:
        statuses = (await late.get("/api/v1/me")).status_code, (await run.get("/api/v1/me")).status_code

    assert lease.run == again.run
    assert statuses == (401, 200)


@pytest.mark.parametrize("proof", ["", "_", "_0", "_" + "0" * 64, "_" + "é" * 64])
async def test_a_run_s_name_alone_opens_nothing(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project, proof: str
) -> None:
    lease = await a_lease(api, house)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as nobody:
        for run in (lease.run, "", "nobody"):
            headers = {b"Authorization": f"Bearer {PREFIX}{run}{proof}".encode()}
            refused = await nobody.get("/api/v1/me", headers=headers)
            assert refused.status_code == 401


async def test_it_is_kept_nowhere_and_tells_no_fence(
    api: httpx.AsyncClient, house: House, project: Project
) -> None:
    lease = await a_lease(api, house)

    assert lease.fence not in lease.token.reveal()
    assert lease.token.reveal() not in repr(lease)
    assert (await api.get("/tokens")).json()["items"] == []
