# SPDX-License-Identifier: Apache-2.0
"""The check in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from longshore.adapters.archives.check import check
from longshore.adapters.archives.zips import ZipArchives, inspect
from longshore.domain.archive import PackageTooLarge
from longshore.domain.errors import BadPackage, Unavailable
from longshore.ports.packages import Archives

from .zipping import Part, files, kept, zipped

pytestmark = pytest.mark.anyio
ARCHIVES: Archives = ZipArchives()


def children() -> str:
    return subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


async def test_the_child_says_what_the_check_says(tmp_path: Path) -> None:
    path = kept(tmp_path / "ü zip", zipped(*files("main.py", "Main.py", "pkg/a.py")))

    assert await ARCHIVES.inspect(path, handler="main.f") == check(path, handler="main.f")


async def test_the_child_judges_for_the_python_that_it_is_told(tmp_path: Path) -> None:
    source = b"import tomllib\ndef f(e, c): ...\n"
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"main.py", content=source)))

    older = await ARCHIVES.inspect(path, handler="main.f", python=(3, 7))

    assert [one.code for one in older.findings] == ["import"]
    assert older == check(path, handler="main.f", python=(3, 7))
    assert (await ARCHIVES.inspect(path, handler="main.f", python=(3, 11))).findings == ()
    assert (await ARCHIVES.inspect(path, handler="main.f")).findings == ()


async def test_a_package_as_large_as_may_be_is_looked_through_in_seconds(tmp_path: Path) -> None:
    source = b"import lib0, lib19\ndef f(e, c): ...\n"
    parts = [Part(name=f"lib{n % 20}/sub{n % 50}/m{n}.py".encode()) for n in range(19_900)]
    inits = [Part(name=f"lib{n}/__init__.py".encode(), content=b"import missing\n") for n in range(20)]
    wheels = [
        Part(name=f"lib{n}-1.dist-info/WHEEL".encode(), content=b"Tag: py3-none-any") for n in range(20)
    ]
    big = Part(name=b"big.bin", content=bytes(60 << 20))
    path = kept(
        tmp_path / "p.zip", zipped(Part(name=b"main.py", content=source), big, *parts, *inits, *wheels)
    )

    # 30 seconds is no aim (one is) but what a machine with much else to do still makes
    found = await inspect(path, handler="main.f", python=(3, 11), timeout_s=30)

    assert [one.code for one in found.findings] == ["size"]


async def test_the_child_refuses_what_the_check_refuses(tmp_path: Path) -> None:
    with pytest.raises(BadPackage, match="leads outside") as caught:
        await inspect(kept(tmp_path / "p.zip", zipped(*files("../evil"))), handler=None)
    assert caught.value.entry == "../evil"

    with pytest.raises(PackageTooLarge, match="262,144,000"):
        await inspect(kept(tmp_path / "p.zip", zipped(Part(name=b"x", size=300_000_000))), handler=None)


async def test_a_file_that_is_not_there_is_no_fault_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        await inspect(tmp_path / "nothing.zip", handler=None)


async def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"x", content=bytes(200 << 20))))

    with pytest.raises(BadPackage, match=r"within 0\.1 seconds"):
        await inspect(path, handler=None, timeout_s=0.1)

    assert "child.py" not in children()


async def test_a_cancelled_caller_leaves_no_child(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"x", content=bytes(200 << 20))))

    with anyio.move_on_after(0.1) as scope:
        await inspect(path, handler=None)

    assert scope.cancelled_caught
    assert "child.py" not in children()


async def test_a_child_that_dies_is_a_refusal_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longshore.adapters.archives import zips

    dying = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 28,) * 2); bytes(1 << 29)"
    monkeypatch.setattr(zips, "_COMMAND", (sys.executable, "-I", "-S", "-c", dying))

    with pytest.raises(BadPackage, match="MemoryError"):
        await inspect(kept(tmp_path / "p.zip", zipped(*files("a.py"))), handler=None)


async def test_source_that_breaks_the_parser_costs_the_caller_nothing(tmp_path: Path) -> None:
    deep = b"x = " + b"+".join([b"1"] * 300_000)
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"m.py", content=deep)))

    assert (await inspect(path, handler="m.f")).findings == ()
