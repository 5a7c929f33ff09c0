# SPDX-License-Identifier: Apache-2.0
"""The application over real adapters: called in memory, or behind a real server on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from tests.web.house import BASE, Hand, House, a_zip, open_house

from longshore.domain.project import Project, Role
from longshore.http.app import create_server

P = "/api/v1/projects/default"


@pytest.fixture
async def house(anyio_backend: str, tmp_path: Path) -> AsyncIterator[House]:
    """Every service, over a directory of its own."""
    one = open_house(tmp_path)
    yield one
    await one.store.close()


@pytest.fixture
async def project(house: House) -> Project:
    """The project `default`."""
    return await house.access.ensure_project("default")


@pytest.fixture
async def token(house: House, project: Project) -> str:
    """An admin's token that reaches every project."""
    return await house.token(Role.ADMIN, None)


@pytest.fixture
def app(house: House) -> ASGIApp:
    """The application."""
    return create_server(house)


@pytest.fixture
async def stranger(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without credentials."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


@pytest.fixture
async def api(app: ASGIApp, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """An admin; addresses are relative to the project."""
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url=f"{BASE}{P}", headers=headers) as client:
        yield client


@pytest.fixture
def hand(house: House) -> Hand:
    """An interceptor that does what it is told."""
    return Hand(house)


@pytest.fixture
async def task(api: httpx.AsyncClient) -> str:
    """A task's name."""
    put = await api.put("/buckets/tasks/objects/echo.zip", content=a_zip())
    assert put.status_code == 201, put.text
    draft = {"name": "echo", "runtime": "python3.11", "handler": "app.handler", "package": "echo.zip"}
    made = await api.post("/tasks", json=draft)
    assert made.status_code == 201, made.text
    return "echo"


@pytest.fixture
async def served(house: House) -> AsyncIterator[str]:
    """The address of a real server; a body may bring nothing for half a second."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_server(house, patience_s=0.5),
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([door]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{door.getsockname()[1]}"
    server.should_exit = True
    await serving
