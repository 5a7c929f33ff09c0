# SPDX-License-Identifier: Apache-2.0
"""Objects: put, listed, fetched whole and in stretches; and a look into packages."""

import hashlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.web.house import Hand, a_zip

from longshore.http.ranges import Span, Unsatisfiable, span_of

pytestmark = pytest.mark.anyio
BYTES = bytes(range(256)) * 8


async def test_an_object_is_put_listed_fetched_and_deleted(api: httpx.AsyncClient) -> None:
    digest = hashlib.sha256(BYTES).hexdigest()

    put = await api.put("/buckets/inputs/objects/a/b ü.jtl", content=BYTES)
    listed = (await api.get("/buckets/inputs/objects", params={"prefix": "a/"})).json()["items"]
    buckets = (await api.get("/buckets")).json()["items"]
    got = await api.get("/buckets/inputs/objects/a/b ü.jtl")
    head = await api.head("/buckets/inputs/objects/a/b ü.jtl")
    gone = await api.delete("/buckets/inputs/objects/a/b ü.jtl")

    assert put.status_code == 201
    assert put.json()["artifact"] == listed[0]
    assert (put.json()["package"], put.json()["findings"], put.json()["updated_tasks"]) == (None, [], [])
    assert (listed[0]["key"], listed[0]["digest"], listed[0]["run"]) == ("a/b ü.jtl", digest, None)
    assert [(one["name"], one["objects"], one["size"]) for one in buckets] == [("inputs", 1, len(BYTES))]
    assert got.content == BYTES
    assert got.headers["ETag"] == f'"{digest}"'
    assert got.headers["Content-Disposition"] == "attachment; filename*=UTF-8''b%20%C3%BC.jtl"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Last-Modified"].endswith("GMT")
    same = ("Content-Length", "ETag", "Content-Type", "Content-Disposition", "Accept-Ranges", "Last-Modified")
    assert [head.headers[name] for name in same] == [got.headers[name] for name in same]
    assert (head.content, gone.status_code) == (b"", 204)
    assert (await api.get("/buckets/inputs/objects/a/b ü.jtl")).status_code == 404


async def test_an_empty_object_is_an_object(api: httpx.AsyncClient) -> None:
    await api.put("/buckets/b/objects/empty", content=b"")

    got = await api.get("/buckets/b/objects/empty")
    stretch = await api.get("/buckets/b/objects/empty", headers={"Range": "bytes=0-"})

    assert (got.status_code, got.content, got.headers["Content-Length"]) == (200, b"", "0")
    assert (stretch.status_code, stretch.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=0-0", 206, BYTES[:1], "bytes 0-0/2048"),
        ("bytes=10-19", 206, BYTES[10:20], "bytes 10-19/2048"),
        ("bytes=2040-", 206, BYTES[2040:], "bytes 2040-2047/2048"),
        ("bytes=2040-9999", 206, BYTES[2040:], "bytes 2040-2047/2048"),
        ("bytes=-3", 206, BYTES[-3:], "bytes 2045-2047/2048"),
        ("bytes=-9999", 206, BYTES, "bytes 0-2047/2048"),
        ("bytes=2048-", 416, None, "bytes */2048"),
        ("bytes=-0", 416, None, "bytes */2048"),
        ("bytes=5-1", 200, BYTES, None),
        ("bytes=0-1,4-5", 200, BYTES, None),
        ("bytes=-", 200, BYTES, None),
        ("lines=1-2", 200, BYTES, None),
        ("bytes=a-b", 200, BYTES, None),
    ],
)
async def test_a_range_is_a_stretch_of_the_object(
    api: httpx.AsyncClient, asked: str, status: int, content: bytes | None, told: str | None
) -> None:
    await api.put("/buckets/b/objects/x", content=BYTES)

    answer = await api.get("/buckets/b/objects/x", headers={"Range": asked})

    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, told)
    if content is not None:
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))


async def test_a_range_of_what_has_changed_is_the_whole(api: httpx.AsyncClient) -> None:
    tag = (await api.put("/buckets/b/objects/x", content=BYTES)).json()["artifact"]["digest"]

    same = await api.get("/buckets/b/objects/x", headers={"Range": "bytes=0-0", "If-Range": f'"{tag}"'})
    other = await api.get("/buckets/b/objects/x", headers={"Range": "bytes=0-0", "If-Range": '"old"'})

    assert (same.status_code, other.status_code) == (206, 200)


@given(st.text(alphabet="bytes=0123456789-, ", max_size=20), st.integers(0, 50))
def test_a_stretch_lies_inside_of_the_object(header: str, size: int) -> None:
    try:
        span = span_of({"range": header}, size, etag="")
    except Unsatisfiable:
        return
    if span is not None:
        assert isinstance(span, Span)
        assert 0 <= span.start < span.start + span.length <= size


async def test_what_runs_leave_is_written_by_runs_alone(
    api: httpx.AsyncClient, task: str, hand: Hand
) -> None:
    run = (await api.post("/tasks/echo/runs")).json()["id"]
    lease = await hand.take()

    async def report() -> object:
        yield b"xlsx"

    await hand.dispatch.keep_file(lease, "out/report.xlsx", report())  # type: ignore[arg-type]
    await hand.end(lease)
    left = (await api.get(f"/runs/{run}")).json()["artifacts"]
    got = await api.get(f"/buckets/{left[0]['bucket']}/objects/{left[0]['key']}")
    listed = (await api.get("/buckets/runs/objects")).json()["items"]

    assert left[0]["name"] == "out/report.xlsx"
    assert got.content == b"xlsx"
    assert listed[0]["run"] == run
    assert (await api.put("/buckets/runs/objects/x", content=b"")).status_code == 409
    assert (await api.delete(f"/buckets/runs/objects/{left[0]['key']}")).status_code == 409


async def test_a_bad_package_is_refused_and_its_entry_named(api: httpx.AsyncClient) -> None:
    climbing = await api.put("/buckets/tasks/objects/x.zip", content=a_zip({"../evil.py": b""}))
    no_zip = await api.put("/buckets/tasks/objects/x.zip", content=b"hello")
    no_name = await api.put("/buckets/tasks/objects/x.txt", content=a_zip())

    assert (climbing.status_code, climbing.json()["entry"]) == (400, "../evil.py")
    assert no_zip.status_code == 400
    assert (no_name.status_code, no_name.json()["field"]) == (400, "key")
    assert (await api.get("/buckets/tasks/objects")).json()["items"] == []


async def test_a_package_that_a_task_follows_stays(api: httpx.AsyncClient, task: str) -> None:
    refused = await api.delete("/buckets/tasks/objects/echo.zip")

    assert refused.status_code == 409
    assert "echo" in refused.json()["detail"]


async def test_a_look_into_a_package_keeps_nothing(api: httpx.AsyncClient) -> None:
    query = {"file_name": "x.zip", "handler": "app.missing", "runtime": "python3.11"}
    package = a_zip({"app.py": b"def handler(event, context): ...\n", "lib/m.py": b"x = 1\n"})

    found = (await api.post("/packages/check", params=query, content=package)).json()

    assert found["digest"] == hashlib.sha256(package).hexdigest()
    assert (found["size"], found["entries"]) == (len(package), 2)
    assert found["python_modules"] == ["app", "lib"]
    assert found["biggest"][0]["name"] == "."
    assert any("missing" in finding["message"] for finding in found["findings"])
    assert (await api.get("/buckets")).json()["items"] == []
