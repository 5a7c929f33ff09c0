# SPDX-License-Identifier: Apache-2.0
"""The same package on every Python of the machine, and packages that one of them cannot run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import LONGSHORE, Server, a_zip

TELLING = """
import boto3, json, sys

def handler(event, context):
    print("on", sys.version_info[:2])
    return {"python": "python%d.%d" % sys.version_info[:2], "echo": event, "boto3": bool(boto3.__version__),
            "memory": context.memory_limit_in_mb, "name": context.function_name, "id": context.aws_request_id,
            "path": __file__, "prefix": sys.prefix}
"""


@pytest.fixture(scope="module")
def pythons(server: Server) -> list[str]:
    listed = [LONGSHORE, "runtime", "list", "--data", str(server.data), "--json"]
    found = json.loads(subprocess.run(listed, check=True, stdout=subprocess.PIPE).stdout)["items"]
    return [one["id"] for one in found]


def test_the_same_package_answers_the_same_on_every_python(server: Server, pythons: list[str]) -> None:
    event = {"text": "ünï \U0001f980", "numbers": [1, 2.5, None, True]}

    for python in pythons:
        name = f"telling-{python.replace('.', '-')}"
        server.task(name, TELLING, runtime=python)
        run = server.ended(server.begin(name, event), within=120)
        assert run["state"] == "succeeded", (python, run["reason"])
        told = run["result"]
        assert (told["python"], told["echo"], told["boto3"]) == (python, event, True)
        assert (told["memory"], told["name"], told["id"]) == ("1024", name, run["id"])
        assert told["path"] == "/var/task/app.py"
        assert "on (3," in server.log_of(run["id"])
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}" in pythons


@pytest.mark.parametrize("runtime", ["Python 3.6", "python3.99"])
def test_a_missing_python_is_stood_in_for_with_a_warning(server: Server, runtime: str) -> None:
    name = runtime.lower().replace(" ", "-").replace(".", "-")
    server.task(name, TELLING, runtime=runtime)

    run = server.ended(server.begin(name), within=120)

    assert run["state"] == "succeeded", run["reason"]
    assert any("is not on this machine; the run uses python3." in notice for notice in run["notices"])


def numpy_like(tag: str) -> bytes:
    """A package with a compiled library, as an installer lays it there."""
    library = f"fastnum/core.{tag.replace('cp', 'cpython-').split('-cp')[0]}-x86_64-linux-gnu.so"
    return a_zip(
        {
            "app.py": "import fastnum\ndef handler(event, context):\n    return 1\n",
            "fastnum/__init__.py": "from . import core\n",
            library: b"\x7fELF not really",
            "fastnum-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: fastnum\nVersion: 1.0\n",
            "fastnum-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
            "fastnum-1.0.dist-info/top_level.txt": "fastnum\n",
        }
    )


def test_a_library_of_another_python_is_refused_before_the_run(server: Server, tmp_path: Path) -> None:
    package = numpy_like("cp37-cp37m-manylinux1_x86_64")
    checked: dict[str, Any] = server.api.post(
        "/packages/check",
        params={"file_name": "a.zip", "handler": "app.handler", "runtime": "python3.11"},
        content=package,
    ).json()
    server.task("wrong-wheel", package)

    run = server.run("wrong-wheel")

    assert any(one["code"] == "wheel" and one["level"] == "error" for one in checked["findings"])
    assert run["state"] == "failed"
    assert "fastnum" in run["reason"]
    assert "3.7" in run["reason"]
    assert run["started_at"] is None
