# SPDX-License-Identifier: Apache-2.0
"""`longshore package build`: what goes into the zip, and that the same goes in the same way."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from longshore.adapters.archives.check import check
from longshore.cli.build import build
from longshore.domain.errors import BadPackage, Invalid, TooLarge

HANDLER = "import tinylib\n\ndef lambda_handler(event, context):\n    return tinylib.X\n"


def wheel(at: Path) -> Path:
    """A wheel with a module, a program and a record, as any library has."""
    contents = {
        "tinylib/__init__.py": "X = 41\n",
        "tinylib-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinylib\nVersion: 1.0\n",
        "tinylib-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tinylib-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tinylib:main\n",
    }
    record = "".join(f"{name},,\n" for name in contents) + "tinylib-1.0.dist-info/RECORD,,\n"
    at.mkdir(parents=True)
    with zipfile.ZipFile(at / "tinylib-1.0-py3-none-any.whl", "w") as archive:
        for name, content in {**contents, "tinylib-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, content)
    return at


def project(at: Path) -> Path:
    wheel(at / "wheels")
    (at / "lambda_function.py").write_text(HANDLER)
    (at / "requirements.txt").write_text("--no-index\n--find-links wheels\ntinylib==1.0\n")
    (at / "run.sh").write_text("#!/bin/sh\n")
    (at / "run.sh").chmod(0o700)
    return at


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_a_directory_with_requirements_becomes_a_package_that_passes_its_own_check(tmp_path: Path) -> None:
    built = build(project(tmp_path / "task"), tmp_path / "task.zip", python=None)

    assert names_in(built.path) == [
        "lambda_function.py",
        "requirements.txt",
        "run.sh",
        "tinylib-1.0.dist-info/METADATA",
        "tinylib-1.0.dist-info/WHEEL",
        "tinylib-1.0.dist-info/entry_points.txt",
        "tinylib-1.0.dist-info/top_level.txt",
        "tinylib/__init__.py",
        "wheels/tinylib-1.0-py3-none-any.whl",
    ]
    found = check(built.path, handler="lambda_function.lambda_handler")
    assert found.findings == ()
    assert found.biggest == built.biggest
    assert built.size == built.path.stat().st_size
    assert built.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    first = project(tmp_path / "one/task")
    second = tmp_path / "elsewhere/named/otherwise"
    shutil.copytree(first, second)
    for number, path in enumerate(sorted(second.rglob("*"), reverse=True)):
        os.utime(path, (1_000_000_000 + number, 1_500_000_000 + number))
    (second / "run.sh").chmod(0o755)
    (second / "__pycache__").mkdir()
    (second / "__pycache__/x.pyc").write_bytes(b"x")
    for directory in (first, second):
        (directory / "requirements.txt").write_text("./wheels/tinylib-1.0-py3-none-any.whl\n")

    digests = {
        build(one, tmp_path / f"{n}.zip", python=None).sha256 for n, one in enumerate((first, second, first))
    }

    assert len(digests) == 1


def test_caches_version_control_environments_and_the_package_itself_stay_out(tmp_path: Path) -> None:
    task = tmp_path / "task"
    for name in (
        ".git/config",
        ".venv/x",
        "env/pyvenv.cfg",
        "env/lib/y.py",
        "a/__pycache__/b.pyc",
        "a/c.pyc",
        "a/d.py",
    ):
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / name).write_text("x")
    (task / "bin").mkdir()
    (task / "bin/tool").write_text("my own")

    first = build(task, task / "task.zip", python=None)
    second = build(task, task / "task.zip", python=None)

    assert names_in(second.path) == ["a/d.py", "bin/tool"]
    assert first.sha256 == second.sha256
    assert sorted(one.name for one in task.iterdir()) == [".git", ".venv", "a", "bin", "env", "task.zip"]


def test_own_files_win_over_those_of_libraries(tmp_path: Path) -> None:
    task = project(tmp_path / "task")
    (task / "tinylib").mkdir()
    (task / "tinylib/__init__.py").write_text("X = 42\n")

    built = build(task, tmp_path / "task.zip", python=None)

    with zipfile.ZipFile(built.path) as archive:
        assert archive.read("tinylib/__init__.py") == b"X = 42\n"


def test_links_that_lead_outside_become_what_they_point_to(tmp_path: Path) -> None:
    task, shared = tmp_path / "task", tmp_path / "shared"
    (task / "lib").mkdir(parents=True)
    shared.mkdir()
    (shared / "common.py").write_text("shared")
    (shared / "again.py").symlink_to("common.py")
    (task / "lib/so.1").write_text("so")
    (task / "lib/so").symlink_to("so.1")
    (task / "absolute").symlink_to(task / "lib/so.1")
    (task / "shared").symlink_to(shared)
    (task / "common.py").symlink_to("../shared/common.py")
    (task / ".git").mkdir()
    (task / ".git/x").write_text("git")
    (task / "from_git").symlink_to(".git/x")

    built = build(task, tmp_path / "task.zip", python=None)

    with zipfile.ZipFile(built.path) as archive:
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
        links = [one.filename for one in archive.infolist() if one.external_attr >> 28 == 0o12]
    assert contents == {
        "absolute": "so",
        "common.py": "shared",
        "from_git": "git",
        "lib/so": "so.1",
        "lib/so.1": "so",
        "shared/again.py": "shared",
        "shared/common.py": "shared",
    }
    assert links == ["lib/so"]
    assert check(built.path, handler=None).entries == 7


def test_a_link_from_outside_back_into_the_package_is_copied_too(tmp_path: Path) -> None:
    task, outside = tmp_path / "task", tmp_path / "o/p/q"
    (task / "a/b").mkdir(parents=True)
    outside.mkdir(parents=True)
    (task / "main.py").write_text("main")
    (task / "a/b/out").symlink_to(outside)
    (outside / "back.py").symlink_to("../../../task/main.py")

    built = build(task, tmp_path / "task.zip", python=None)

    with zipfile.ZipFile(built.path) as archive:
        assert archive.read("a/b/out/back.py") == b"main"


def test_a_link_around_in_a_circle_or_into_nothing_is_an_error_with_its_name(tmp_path: Path) -> None:
    task = tmp_path / "around/task"
    task.mkdir(parents=True)
    (task / "a.py").write_text("")
    (task / "up").symlink_to(tmp_path / "around")

    with pytest.raises(Invalid, match="leads back"):
        build(task, tmp_path / "t.zip", python=None)
    (task / "up").unlink()
    (task / "gone").symlink_to("nowhere")
    with pytest.raises(Invalid, match=r"gone.*cannot be read"):
        build(task, tmp_path / "t.zip", python=None)
    (task / "gone").unlink()
    os.mkfifo(task / "pipe")
    with pytest.raises(Invalid, match=r"pipe.*neither"):
        build(task, tmp_path / "t.zip", python=None)
    assert not (tmp_path / "t.zip").exists()


def test_what_the_installer_says_is_what_the_user_reads(tmp_path: Path) -> None:
    task = project(tmp_path / "task")
    (task / "requirements.txt").write_text("--no-index\nno-such-library-anywhere==9\n")
    (tmp_path / "task.zip").write_text("the old one")

    with pytest.raises(Invalid, match=r"(?s)uv says:.*no-such-library-anywhere"):
        build(task, tmp_path / "task.zip", python=None)

    assert (tmp_path / "task.zip").read_text() == "the old one"
    assert sorted(os.listdir(tmp_path)) == ["task", "task.zip"]


@pytest.mark.parametrize(
    ("python", "platform", "options"),
    [
        ("3.12", None, ["--python-version", "3.12"]),
        ("/opt/python3.9", None, ["--python", "/opt/python3.9"]),
        (None, "x86_64-unknown-linux-gnu", ["--python-platform", "x86_64-unknown-linux-gnu"]),
    ],
)
def test_the_python_and_platform_to_build_for_are_the_installers_options(
    tmp_path: Path, python: str | None, platform: str | None, options: Sequence[str]
) -> None:
    asked: list[str] = []

    def runner(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    build(project(tmp_path / "task"), tmp_path / "t.zip", python=python, platform=platform, runner=runner)

    at = asked.index(options[0])
    assert asked[at : at + 2] == options


def test_a_package_that_could_not_be_uploaded_is_not_built(tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    with pytest.raises(BadPackage, match="put the handler"):
        build(task, tmp_path / "t.zip", python=None)

    with (task / "huge.bin").open("wb") as out:
        out.truncate(263_000_000)
    with pytest.raises(TooLarge, match="262,144,000"):
        build(task, tmp_path / "t.zip", python=None)
    with pytest.raises(Invalid, match="not a directory"):
        build(tmp_path / "nothing", tmp_path / "t.zip", python=None)
    with pytest.raises(Invalid, match="create it"):
        build(task, tmp_path / "no/t.zip", python=None)
    assert os.listdir(tmp_path) == ["task"]
