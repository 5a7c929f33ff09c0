# SPDX-License-Identifier: Apache-2.0
"""What is told of a package when it is put, saved with a task, or only looked at."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.web.house import HANDLER, Hand, House, a_zip

from longshore.domain.ids import InterceptorId
from longshore.services.packages import MAX_LOOKS

pytestmark = pytest.mark.anyio
LACKING = b"import requests_of_nobody\n" + HANDLER
NUMPY = {
    "numpy/__init__.py": b"",
    "numpy/core.cpython-37m-x86_64-linux-gnu.so": b"",
    "numpy-1.2.dist-info/WHEEL": b"Tag: cp37-cp37m-linux_x86_64\nTag: cp37-cp37m-linux_aarch64\n",
    "numpy-1.2.dist-info/top_level.txt": b"numpy\n",
}


async def made(
    api: httpx.AsyncClient, name: str, *, handler: str, runtime: str = "python3.11", **more: object
) -> Any:
    """The findings of a new task."""
    draft = {"name": name, "runtime": runtime, "handler": handler, "package": "p.zip", **more}
    answer = await api.post("/tasks", json=draft)
    assert answer.status_code == 201, answer.text
    return answer.json()["findings"]


async def put(api: httpx.AsyncClient, files: Mapping[str, bytes]) -> Any:
    """The findings of an upload."""
    answer = await api.put("/buckets/tasks/objects/p.zip", content=a_zip(files))
    assert answer.status_code == 201, answer.text
    return answer.json()["findings"]


async def test_a_task_is_saved_with_what_its_package_lacks(api: httpx.AsyncClient) -> None:
    assert await put(api, {"app.py": LACKING}) == []

    [finding] = await made(api, "echo", handler="app.handler")

    assert (finding["level"], finding["code"], finding["entry"]) == ("error", "import", "app.py")
    assert "app.py, line 1, imports requests_of_nobody" in finding["message"]


async def test_an_upload_is_looked_at_for_the_tasks_that_use_it_and_never_refused(
    api: httpx.AsyncClient,
) -> None:
    await put(api, {"app.py": HANDLER, "other.py": HANDLER})
    await made(api, "first", handler="app.handler")
    await made(api, "second", handler="app.handler")
    await made(api, "third", handler="other.handler")

    found = await put(api, {"app.py": HANDLER, "App.py": b"", "lib.py": b""})

    assert [(one["level"], one["code"]) for one in found] == [
        ("error", "handler_module"),
        ("warning", "case"),
    ]
    assert found[0]["message"].startswith("for the task third: the package has no file other.py")
    both = await put(api, {"lib.py": b"", "other.py": HANDLER})
    assert [one["message"][:41] for one in both] == ["for the tasks first, second: the package "]


async def test_an_upload_for_many_different_tasks_says_which_it_was_not_looked_at_for(
    api: httpx.AsyncClient,
) -> None:
    await put(api, {"app.py": HANDLER})
    for n in range(MAX_LOOKS + 1):
        await made(api, f"t{n}", handler=f"app.h{n}")

    found = await put(api, {"app.py": HANDLER})

    assert [one["code"] for one in found] == ["handler_function"] * MAX_LOOKS + ["unchecked"]
    assert f"not looked into for t{MAX_LOOKS};" in found[-1]["message"]


async def test_a_library_for_another_python_is_an_error_that_names_both(api: httpx.AsyncClient) -> None:
    query = {"handler": "app.handler", "runtime": "python3.11"}

    answer = await api.post("/packages/check", params=query, content=a_zip({"app.py": HANDLER, **NUMPY}))

    [finding] = answer.json()["findings"]
    assert (finding["level"], finding["code"]) == ("error", "wheel")
    assert "numpy 1.2 is built for CPython 3.7 on Linux" in finding["message"]
    assert "the task runs on Python 3.11" in finding["message"]
    query["runtime"] = "Python 3.7"
    answer = await api.post("/packages/check", params=query, content=a_zip({"app.py": HANDLER, **NUMPY}))
    assert answer.json()["findings"] == []


async def test_a_package_is_judged_by_the_python_that_stands_in(
    api: httpx.AsyncClient, house: House, hand: Hand
) -> None:
    await put(api, {"app.py": b"import tomllib\n" + HANDLER, **NUMPY})
    before = await made(api, "before", handler="app.handler", runtime="Python 3.7")
    await house.dispatch.register(replace(hand.me, location="elsewhere", runtimes=("python3.7",)))
    other = replace(hand.me, id=InterceptorId(f"{hand.me.id[:-1]}2"), runtimes=("python3.11", "odd"))
    await house.dispatch.register(other)

    after = await made(api, "after", handler="app.handler", runtime="Python 3.7")
    query = {"runtime": "Python 3.7", "handler": "app.handler"}
    there = await api.post("/packages/check", params=query, content=a_zip({"app.py": b"", **NUMPY}))

    assert [one["code"] for one in before] == ["import"]
    assert [one["code"] for one in after] == ["wheel"]
    assert "the task runs on Python 3.11" in after[0]["message"]
    assert [one["code"] for one in there.json()["findings"]] == ["handler_function"]


async def test_a_task_that_says_where_to_look_for_modules_is_only_warned(api: httpx.AsyncClient) -> None:
    await put(api, {"app.py": LACKING})

    [finding] = await made(api, "echo", handler="app.handler", environment={"PYTHONPATH": "/var/task/vendor"})

    assert (finding["level"], finding["code"]) == ("warning", "import")
