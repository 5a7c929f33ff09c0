# SPDX-License-Identifier: Apache-2.0
"""From an archive to files: exactly its content, or nothing at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.adapters.archives import unpack as unpacking
from longshore.adapters.archives.check import check
from longshore.adapters.archives.unpack import unpack
from longshore.domain.errors import BadPackage, Conflict, OutOfSpace, Unavailable

from .zipping import Part, files, kept, zipped

pytestmark = pytest.mark.anyio


def tree(root: Path) -> dict[str, bytes | None]:
    """All there is below a directory: bytes of files, None for directories."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


async def test_an_archive_becomes_exactly_its_files(tmp_path: Path) -> None:
    parts = [
        Part(name=b"d/", content=b""),
        *files("main.py", "a/b/c.txt"),
        Part(name=b"big", content=bytes(1 << 20)),
    ]

    await unpack(kept(tmp_path / "p.zip", zipped(*parts)), tmp_path / "out")

    assert tree(tmp_path / "out") == {
        "a": None,
        "a/b": None,
        "a/b/c.txt": b"x = 1\n",
        "big": bytes(1 << 20),
        "d": None,
        "main.py": b"x = 1\n",
    }
    assert sorted(os.listdir(tmp_path)) == ["out", "p.zip"]


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [
        (0o100600, 0o644),
        (0o104777, 0o755),
        (0o102010, 0o755),
        (0o010666, 0o644),
        (0o060666, 0o644),
        (0, 0o644),
    ],
)
async def test_modes_are_two_whatever_the_archive_says(tmp_path: Path, mode: int, becomes: int) -> None:
    umask = os.umask(0o077)
    try:
        await unpack(kept(tmp_path / "p.zip", zipped(Part(name=b"d/x", mode=mode))), tmp_path / "out")
    finally:
        os.umask(umask)

    assert (tmp_path / "out/d/x").lstat().st_mode == 0o100000 | becomes
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/d").stat().st_mode & 0o7777 == 0o755


async def test_times_come_from_the_archive_and_impossible_ones_from_1980(tmp_path: Path) -> None:
    parts = [Part(name=b"a", stamp=0x58210000), Part(name=b"b", stamp=0), Part(name=b"c", stamp=0xFFFFFFFF)]

    await unpack(kept(tmp_path / "p.zip", zipped(*parts)), tmp_path / "out")

    times = [(tmp_path / "out" / name).stat().st_mtime for name in "abc"]
    assert times == [1704067200, 315532800, 315532800]


async def test_links_inside_are_made(tmp_path: Path) -> None:
    parts = [Part(name=b"so", content=b"lib/so.1", mode=0o120777), *files("lib/so.1")]

    await unpack(kept(tmp_path / "p.zip", zipped(*parts)), tmp_path / "out")

    assert os.readlink(tmp_path / "out/so") == "lib/so.1"
    assert (tmp_path / "out/so").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize(
    "bad",
    [
        Part(name=b"../evil"),
        Part(name=b"a.py/x"),
        Part(name=b"l", content=b"../..", mode=0o120777),
        Part(name=b"x", crc=1),
        Part(name=b"x", size=1),
        Part(name=b"x", content=bytes(300 << 20)),
        Part(name=b"x", content=bytes(300 << 20), size=100),
    ],
)
async def test_a_bad_archive_leaves_nothing_behind(tmp_path: Path, bad: Part) -> None:
    path = kept(tmp_path / "p.zip", zipped(*files("a.py", "b/c.py"), bad))

    with pytest.raises(BadPackage):
        await unpack(path, tmp_path / "out")

    assert os.listdir(tmp_path) == ["p.zip"]


async def test_what_is_there_already_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with pytest.raises(Conflict, match="already"):
        await unpack(kept(tmp_path / "p.zip", zipped(*files("a.py"))), tmp_path / "out")

    assert tree(tmp_path) == {"out": None, "p.zip": (tmp_path / "p.zip").read_bytes()}


async def test_a_missing_archive_or_parent_is_unavailable(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(*files("a.py")))

    with pytest.raises(Unavailable):
        await unpack(tmp_path / "none.zip", tmp_path / "out")
    with pytest.raises(Unavailable):
        await unpack(path, tmp_path / "no/out")
    with pytest.raises(Unavailable, match="no-such-python"):
        await unpack(path, tmp_path / "out", compile_with=["no-such-python"])

    assert os.listdir(tmp_path) == ["p.zip"]


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk is mounted by root only")
async def test_a_full_disk_is_named_and_left_empty(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"x", content=os.urandom(2 << 20))))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False)
    if mount.returncode:
        pytest.skip("this container may not mount")
    try:
        with pytest.raises(OutOfSpace):
            await unpack(path, disk / "out")
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def test_bytecode_is_used_from_a_tree_whose_sources_look_newer(tmp_path: Path) -> None:
    parts = [
        Part(name=b"m.py", content=b"def f():\n    raise ValueError\n"),
        Part(name=b"broken.py", content=b"def ("),
    ]
    out = tmp_path / "out"

    await unpack(kept(tmp_path / "p.zip", zipped(*parts)), out, compile_with=[sys.executable])

    [compiled] = (out / "__pycache__").iterdir()
    assert compiled.name == f"m.{sys.implementation.cache_tag}.pyc"
    assert compiled.read_bytes()[4:8] == b"\x01\0\0\0"  # hash-based, never checked (PEP 552)
    assert b"/var/task/m.py" in compiled.read_bytes()
    (out / "m.py").write_text("def f(): return 'from source'\n")
    ran = [sys.executable, "-B", "-c", "import m; m.f()"]
    assert "ValueError" in subprocess.run(ran, cwd=out, capture_output=True, text=True, check=False).stderr


async def test_a_compiler_that_hangs_is_ended_and_the_package_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "COMPILE_TIMEOUT_S", 0.2)
    slow = kept(tmp_path / "slow", b"#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)

    await unpack(kept(tmp_path / "p.zip", zipped(*files("m.py"))), tmp_path / "out", compile_with=[str(slow)])

    assert list(tree(tmp_path / "out")) == ["m.py"]


SEGMENTS = st.one_of(
    st.sampled_from(["a", "b", "A", "..", ".", "", "c.py", "C:", "x\\y", "\0", "l", "ü", "d" * 256]),
    st.text(max_size=4),
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)
PARTS = st.builds(
    lambda name, content, mode, method, flags: Part(
        name=name.encode("utf-8", "surrogatepass"), content=content, mode=mode, method=method, flags=flags
    ),
    NAMES,
    st.one_of(
        st.binary(max_size=20),
        st.lists(SEGMENTS, max_size=3).map(lambda x: "/".join(x).encode(errors="ignore")),
    ),
    st.sampled_from([0o100644, 0o100755, 0o120777, 0o040755, 0]),
    st.sampled_from([0, 8]),
    st.sampled_from([0, 0x800]),
)


def everything_in(directory: Path) -> set[str]:
    return {os.path.join(base, name) for base, dirs, names in os.walk(directory) for name in (*dirs, *names)}


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6))
def test_random_names_are_refused_or_become_exactly_what_the_archive_holds(parts: list[Part]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        around = Path(place) / "around"
        around.mkdir()
        path = kept(around / "p.zip", zipped(*parts))
        try:
            found = check(path, handler="a.b")
        except BadPackage:
            with pytest.raises(BadPackage):
                unpacking._unpack(path, around / "out", None)
            assert everything_in(Path(place)) == {str(around), str(path)}
            return

        unpacking._unpack(path, around / "out", None)

        assert found.entries == len(parts)
        assert set(os.listdir(place)) == {"around"}
        assert set(os.listdir(around)) == {"p.zip", "out"}
        for part in parts:
            made = around / "out" / part.name.decode()
            if part.mode == 0o120777:
                assert os.readlink(made).encode() == part.content
                assert made.resolve().is_relative_to((around / "out").resolve())
            elif made.is_dir():
                assert part.name.endswith(b"/") or part.mode == 0o040755
            else:
                assert made.read_bytes() == part.content


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 4))
def test_a_flipped_byte_is_refused_or_changes_nothing_that_is_unpacked(
    at: int, value: int, more: int
) -> None:
    import tempfile

    content = bytearray(zipped(*files("a.py", "b/c.py", "l")))
    for offset in range(more + 1):
        content[(at + offset * 7) % len(content)] = value
    with tempfile.TemporaryDirectory() as place:
        path = kept(Path(place) / "p.zip", bytes(content))
        try:
            unpacking._unpack(path, Path(place) / "out", None)
        except BadPackage:
            assert os.listdir(place) == ["p.zip"]
        else:
            contents = [value for value in tree(Path(place) / "out").values() if value is not None]
            assert contents == [b"x = 1\n"] * 3 or (Path(place) / "out/l").is_symlink()
