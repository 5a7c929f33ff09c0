# SPDX-License-Identifier: Apache-2.0
"""Opening a sandbox, as root and as an ordinary user, and what the doctor says about the machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import uvloop
from tests.sandbox.cells import Bench, Heard, processes_with, until_said, zombies
from tests.sandbox.conftest import opened

import longshore
from longshore.adapters.sandbox import egress, open_sandbox
from longshore.adapters.sandbox.bubblewrap import Bubblewrap
from longshore.adapters.sandbox.home import open_home
from longshore.adapters.sandbox.probe import probe
from longshore.adapters.sandbox.trouble import explained
from longshore.domain.errors import Unavailable
from longshore.interceptor.runtimes import PreparedRuntime

ORDINARY = """
import asyncio, sys
from pathlib import Path
from longshore.adapters.sandbox import open_sandbox
from longshore.ports.sandbox import CellSpec

async def main(kind, place, root, python, directory):
    sandbox = await open_sandbox(kind, Path(place, "sandbox"))
    package = Path(place, "package")
    spec = CellSpec(runtime_root=Path(root) if root else None, python=python, runtime_dir=Path(directory),
                    package_dir=package, cpus=1, memory_mb=128, disk_mb=16, pids=32)
    cell = await sandbox.launch(spec)
    environment = {"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "HOME": "/tmp",
                   "LD_LIBRARY_PATH": "/var/lang/lib", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
    await cell.assign(environment, "app.handler")
    ended = await cell.exited()
    print(sandbox.isolation.level, ended.code)
    await cell.kill()
    await sandbox.close()

asyncio.run(main(*sys.argv[1:]))
"""


def has_bwrap() -> bool:
    return shutil.which("bwrap") is not None or os.environ.get("CI") == "true"


needs_bwrap = pytest.mark.skipif(not has_bwrap(), reason="bubblewrap is not installed")


@needs_bwrap
@pytest.mark.anyio
async def test_auto_is_bubblewrap_where_it_works(place: Path) -> None:
    sandbox = await open_sandbox("auto", place / "sandbox")

    try:
        assert isinstance(sandbox, Bubblewrap)
        assert sandbox.isolation.level in ("strict", "limits")
        assert (sandbox.isolation.level == "limits") == bool(sandbox.isolation.words)
    finally:
        await sandbox.close()
    assert list((place / "sandbox").iterdir()) == []


@pytest.mark.anyio
async def test_auto_never_falls_back_to_no_walls(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))

    with pytest.raises(Unavailable, match=r"apt-get install bubblewrap.*--sandbox process"):
        await open_sandbox("auto", place / "sandbox")


@pytest.mark.anyio
async def test_walls_that_do_not_stand_are_explained(place: Path) -> None:
    broken = place / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    sandbox = Bubblewrap(open_home(place / "sandbox"), str(broken), shutil.which("setpriv") or "")
    try:
        with pytest.raises(Unavailable, match="setting up uid map: Permission denied"):
            await sandbox.check()
    finally:
        await sandbox.close()


def test_complaints_of_containers_come_with_the_options_that_help() -> None:
    assert "systempaths=unconfined" in explained(
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
    )
    assert "seccomp=unconfined" in explained("bwrap: Creating new namespace failed: Operation not permitted")
    assert "0.8" in explained("bwrap: Unknown option --disable-userns")


@needs_bwrap
@pytest.mark.parametrize("kind", ["auto", "process"])
def test_an_ordinary_user_has_sandboxes_too(kind: str, runtime: PreparedRuntime, place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("every other test here is this one when we are an ordinary user")
    home = Path(longshore.__file__).parent
    shutil.copytree(home, place / "src" / "longshore", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "package").mkdir()
    (place / "package" / "app.py").write_text("import os\nos._exit(7)")
    (place / "sandbox").mkdir()
    subprocess.run(["chmod", "-R", "a+rX", str(place / "src")], check=True)
    os.chown(place / "sandbox", 65534, 65534)
    root = str(runtime.root or "")
    python = runtime.python.replace("/var/lang", root, 1) if root else runtime.python
    library = {"LD_LIBRARY_PATH": f"{root}/lib"} if root else {}

    done = subprocess.run(
        [
            python,
            "-W",
            "error",
            "-c",
            ORDINARY,
            kind,
            str(place),
            root,
            runtime.python,
            str(runtime.directory),
        ],
        user=65534,
        group=65534,
        extra_groups=[],
        env={"PYTHONPATH": str(place / "src"), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **library},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.split() == ["limits" if kind == "auto" else "process", "7"], done.stderr
    assert list((place / "sandbox").iterdir()) == []


@needs_bwrap
def test_cells_live_in_uvloop_as_well(runtime: PreparedRuntime, place: Path) -> None:
    async def live() -> bytes:
        bench = Bench(await opened("limits", place / "sandbox"), runtime, place)
        heard = Heard()
        try:
            cell = await bench.begun("print('here', flush=True)\nimport time\ntime.sleep(600)")
            await until_said(cell, heard, b"here")
            await cell.kill()
            assert (await cell.exited()).signal == 9
        finally:
            await bench.sandbox.close()
        return heard.out

    assert uvloop.run(live()) == b"here\n"


@needs_bwrap
@pytest.mark.anyio
async def test_the_doctor_tries_the_way_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    before = zombies()
    tried = (await probe())[-1]
    monkeypatch.setattr(egress, "missing", lambda: None)
    monkeypatch.setattr(egress, "command", lambda **_: ["/bin/sh", "-c", "echo no device here >&2; exit 1"])
    failed = (await probe())[-1]

    assert (tried.name, tried.ok is True) == ("outbound network", "sandboxes have it" in tried.words)
    assert failed.words == "sandboxes have none: pasta does not work here (no device here)"
    assert failed.ok is None
    assert zombies() == before
    assert processes_with(str(place)) == []
    assert list(place.iterdir()) == []


@pytest.mark.anyio
async def test_the_doctor_says_something_about_everything() -> None:
    found = await probe()

    names = [one.name for one in found]
    assert names == ["bubblewrap", "user namespaces", "seccomp", "control groups", "outbound network"]
    assert all(one.words for one in found)
    assert all(one.ok is not False or " " in one.words for one in found)
