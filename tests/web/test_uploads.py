# SPDX-License-Identifier: Apache-2.0
"""Large, slow and broken bodies against a real server."""

import asyncio
import contextlib
import hashlib
import http.client
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests.web.conftest import P
from tests.web.house import a_zip

from longshore.services.packages import MAX_PACKAGE_BYTES

MIB = 1024 * 1024
SERVER = """
import asyncio, socket, sys
from pathlib import Path
import uvicorn
from longshore.domain.project import Role
from longshore.http.app import create_server
from tests.web.house import open_house

async def main() -> None:
    house = open_house(Path(sys.argv[1]))
    project = await house.access.ensure_project("default")
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen()
    config = uvicorn.Config(create_server(house), log_config=None, access_log=False, lifespan="off")
    token = await house.token(Role.ADMIN, project)
    print(door.getsockname()[1], token, flush=True)
    await uvicorn.Server(config).serve([door])

asyncio.run(main())
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[int, int, str]]:
    """A server in a process of its own: its id, its port and a token."""
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        assert server.stdout is not None
        port, token = server.stdout.readline().split()
        yield server.pid, int(port), token
        server.terminate()
        server.wait(20)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def put(port: int, token: str, path: str, pieces: Iterator[bytes]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("PUT", P + path, pieces, headers, encode_chunked=True)
        return connection.getresponse().status


def test_a_large_upload_takes_no_memory(process: tuple[int, int, str]) -> None:
    pid, port, token = process
    assert put(port, token, "/buckets/b/objects/small", iter([b"x"])) == 201
    before = peak_bytes(pid)

    status = put(port, token, "/buckets/b/objects/large", (b"x" * MIB for _ in range(200)))

    assert status == 201
    assert peak_bytes(pid) - before <= 30 * MIB


@contextlib.asynccontextmanager
async def began(
    served: str, token: str, request: str, *more: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a request's head has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.rpartition(":")[2]))
    head = [f"{request} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
    writer.write("\r\n".join(head).encode())
    yield reader, writer
    writer.transport.abort()


@pytest.mark.anyio
@pytest.mark.parametrize("request_line", [f"PUT {P}/buckets/b/objects/x", f"POST {P}/tasks"])
async def test_a_body_that_stops_coming_is_given_up(
    served: str, token: str, api: httpx.AsyncClient, request_line: str
) -> None:
    async with began(served, token, request_line, "Content-Length: 100") as (reader, writer):
        writer.write(b"{")
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"application/problem+json" in answer
    assert (await api.get("/buckets")).json()["items"] == []


@pytest.mark.anyio
async def test_a_package_that_says_it_is_too_large_is_refused_at_once(
    served: str, token: str, api: httpx.AsyncClient
) -> None:
    too_large = f"Content-Length: {MAX_PACKAGE_BYTES + 1}"
    line = f"PUT {P}/buckets/tasks/objects/x.zip"
    async with began(served, token, line, too_large, "Expect: 100-continue") as (reader, _):
        first = await reader.readline()

    assert first == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    assert (await api.get("/buckets/tasks/objects")).json()["items"] == []


@pytest.mark.anyio
async def test_half_an_upload_leaves_nothing(
    served: str, token: str, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    await api.put("/buckets/b/objects/x", content=b"before")
    kept = sum(1 for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    line = f"PUT {P}/buckets/b/objects/x"
    async with began(served, token, line, "Content-Length: 1000000") as (_, writer):
        writer.write(b"y" * 500_000)
        await writer.drain()
        await asyncio.sleep(0.2)

    async with asyncio.timeout(20):
        while sum(1 for path in (tmp_path / "blobs").rglob("*") if path.is_file()) > kept:
            await asyncio.sleep(0.02)
    assert (await api.get("/buckets/b/objects/x")).content == b"before"


@pytest.mark.anyio
async def test_an_object_travels_whole_through_a_real_server(served: str, token: str) -> None:
    content = a_zip({f"{i}.bin": bytes([i]) * 100_000 for i in range(30)})
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {token}"}, base_url=f"{served}{P}"
    ) as client:
        stored = await client.put("/buckets/b/objects/x.zip", content=content)
        got = await client.get("/buckets/b/objects/x.zip")
        head = await client.head("/buckets/b/objects/x.zip")
        tail = await client.get("/buckets/b/objects/x.zip", headers={"Range": "bytes=-1000"})

    assert stored.json()["artifact"]["digest"] == hashlib.sha256(content).hexdigest()
    assert got.content == content
    assert head.headers["Content-Length"] == str(len(content))
    assert tail.content == content[-1000:]
