# SPDX-License-Identifier: Apache-2.0
"""A task's network over HTTP: kept, shown, and the machine's own network only from admins."""

import httpx
import pytest
from starlette.types import ASGIApp
from tests.web.conftest import P
from tests.web.house import BASE, House, a_zip

from longshore.domain.project import Project, Role

pytestmark = pytest.mark.anyio
DRAFT = {"name": "echo", "runtime": "python3.11", "handler": "app.handler", "package": "echo.zip"}


async def as_editor(app: ASGIApp, house: House, project: Project) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {await house.token(Role.EDITOR, project)}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"{BASE}{P}", headers=headers)


async def test_network_and_allowed_addresses_are_kept_and_shown(
    api: httpx.AsyncClient, project: Project
) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    allow = ["127.0.0.1:1025", "Mail.example.com:25"]

    made = await api.post("/tasks", json={**DRAFT, "network": "none", "allow": allow})

    assert made.status_code == 201, made.text
    task = (await api.get("/tasks/echo")).json()
    assert (task["network"], task["allow"]) == ("none", ["127.0.0.1:1025", "mail.example.com:25"])
    changed = await api.patch("/tasks/echo", json={"allow": []})
    assert (changed.json()["task"]["network"], changed.json()["task"]["allow"]) == ("none", [])


async def test_without_a_word_it_is_egress(api: httpx.AsyncClient, project: Project) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())

    made = await api.post("/tasks", json=DRAFT)

    assert (made.json()["task"]["network"], made.json()["task"]["allow"]) == ("egress", [])


async def test_a_wrong_address_is_named(api: httpx.AsyncClient, project: Project) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())

    refused = await api.post("/tasks", json={**DRAFT, "allow": ["everything"]})

    assert refused.status_code == 400
    assert "'everything' cannot be allowed: it takes host:port" in refused.text


async def test_an_editor_gives_nobody_the_machines_network(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    async with await as_editor(app, house, project) as editor:
        created = await editor.post("/tasks", json={**DRAFT, "network": "host"})
        await editor.post("/tasks", json=DRAFT)
        changed = await editor.patch("/tasks/echo", json={"network": "host"})

    assert (created.status_code, changed.status_code) == (403, 403)
    assert "takes the role admin" in changed.json()["detail"]
    assert (await api.get("/tasks/echo")).json()["network"] == "egress"


async def test_an_editor_puts_no_code_into_a_task_on_the_machines_network(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    made = await api.post("/tasks", json={**DRAFT, "network": "host"})
    assert made.status_code == 201
    async with await as_editor(app, house, project) as editor:
        put = await editor.put(
            "/buckets/tasks/objects/echo.zip", content=a_zip({"app.py": b"def handler(e, c): return 'evil'"})
        )
        changed = await editor.patch("/tasks/echo", json={"description": "harmless"})

    assert (put.status_code, changed.status_code) == (403, 403)
    assert (await api.get("/tasks/echo")).json()["package"] == made.json()["task"]["package"]


async def test_the_machines_loopback_is_for_admins_to_allow(
    app: ASGIApp, api: httpx.AsyncClient, house: House, project: Project
) -> None:
    await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    async with await as_editor(app, house, project) as editor:
        refused = [
            await editor.post("/tasks", json={**DRAFT, "allow": [pair]})
            for pair in ("127.0.0.1:6379", "localhost:6379", "[::ffff:127.0.0.1]:80", "169.254.169.254:80")
        ]
        made = await editor.post("/tasks", json={**DRAFT, "allow": ["mail.example.com:25"]})
        await api.patch("/tasks/echo", json={"allow": ["127.0.0.1:1025"]})
        kept = await editor.patch("/tasks/echo", json={"description": "still allowed"})

    assert [one.status_code for one in refused] == [403] * 4
    assert "allowing that takes the role admin" in refused[0].text
    assert made.status_code == 201
    assert kept.json()["task"]["allow"] == ["127.0.0.1:1025"]
