# SPDX-License-Identifier: Apache-2.0
"""Collecting what a handler left behind, friendly and hostile."""

import os
import socket
from pathlib import Path

import pytest

from longshore.interceptor import outputs
from longshore.interceptor.outputs import MAX_FILES, MAX_SENTENCES, Output, collect

pytestmark = pytest.mark.anyio
MB = 2**20


async def collected(directory: Path, limit: int = 100 * MB) -> tuple[dict[str, bytes], list[str]]:
    """Every file with its bytes, and every sentence; no descriptor may be left open."""
    before = set(os.listdir("/proc/self/fd"))
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    files: dict[str, bytes] = {}
    sentences: list[str] = []
    try:
        async for found in collect(handle, limit=limit):
            if isinstance(found, Output):
                pieces = [piece async for piece in found.content()]
                assert all(len(piece) <= MB for piece in pieces)
                files[found.name] = b"".join(pieces)
                assert len(files[found.name]) == found.size
            else:
                sentences.append(found)
    finally:
        os.close(handle)
    assert set(os.listdir("/proc/self/fd")) == before
    return files, sentences


async def test_files_come_in_the_order_of_their_names_with_all_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "b.txt").write_bytes(b"bee")
    (tmp_path / "a.bin").write_bytes(os.urandom(3 * MB + 7))
    (tmp_path / "sub" / "deep" / "żółć 報告.xlsx").write_bytes(b"")

    files, sentences = await collected(tmp_path)

    assert list(files) == ["a.bin", "b.txt", "sub/deep/żółć 報告.xlsx"]
    assert files["a.bin"] == (tmp_path / "a.bin").read_bytes()
    assert sentences == []


async def test_an_empty_directory_is_fine(tmp_path: Path) -> None:
    assert await collected(tmp_path) == ({}, [])


async def test_links_pipes_sockets_and_devices_are_left_where_they_are(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside / "secret")
    (inside / "dir").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(inside / "sock"))

        files, sentences = await collected(inside)

    assert files == {}
    assert len(sentences) == 4
    assert any("'link'" in sentence and "a symbolic link" in sentence for sentence in sentences)
    assert any("'pipe'" in sentence and "a pipe" in sentence for sentence in sentences)


async def test_names_that_are_no_keys_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "line\nbreak").write_text("x")
    with open(os.fsencode(tmp_path) + b"/bad-\xff-utf8", "wb") as file:
        file.write(b"x")
    (tmp_path / "fine").write_text("x")

    files, sentences = await collected(tmp_path)

    assert list(files) == ["fine"]
    assert len(sentences) == 2
    assert all(sentence.isprintable() for sentence in sentences)
    "".join(sentences).encode()


async def test_what_does_not_fit_is_said_and_smaller_files_still_come(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 600)
    (tmp_path / "b").write_bytes(b"x" * 600)
    (tmp_path / "c").write_bytes(b"x" * 400)

    files, sentences = await collected(tmp_path, limit=1000)

    assert list(files) == ["a", "c"]
    assert len(sentences) == 1
    assert "'b'" in sentences[0]


async def test_a_sparse_giant_counts_as_large_as_it_says(tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 40)

    files, sentences = await collected(tmp_path)

    assert files == {}
    assert "giant" in sentences[0]


async def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 30):
        (tmp_path / f"{number:05}").touch()

    files, sentences = await collected(tmp_path)

    assert len(files) == MAX_FILES
    assert sentences == [f"30 files were not kept: a run keeps at most {MAX_FILES}"]


async def test_a_directory_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "MAX_ENTRIES", 50)
    for number in range(80):
        (tmp_path / f"{number:05}").touch()

    files, sentences = await collected(tmp_path)

    assert len(files) == 50
    assert "more than 50 entries" in sentences[0]


async def test_directories_in_directories_end_somewhere(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(outputs.MAX_DEPTH + 3):
        deep = deep / "d"
        deep.mkdir()
        (deep / "f").touch()

    files, sentences = await collected(tmp_path)

    assert len(files) == outputs.MAX_DEPTH - 1
    assert len(sentences) == 1
    assert "deeper" in sentences[0]


async def test_a_million_links_are_no_million_sentences(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number:04}").symlink_to("/etc/passwd")

    files, sentences = await collected(tmp_path)

    assert files == {}
    assert len(sentences) == MAX_SENTENCES + 1
    assert sentences[-1].startswith("480 more")


async def test_a_file_that_became_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text(name)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "f").write_text("f")
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    files: dict[str, bytes] = {}
    sentences = []
    try:
        async for found in collect(handle, limit=MB):
            if isinstance(found, str):
                sentences.append(found)
                continue
            if found.name == "a":
                (tmp_path / "b").unlink()
                (tmp_path / "b").symlink_to("/etc/passwd")
                (tmp_path / "c").unlink()
                (tmp_path / "d").unlink()
                os.mkfifo(tmp_path / "d")
                (tmp_path / "e" / "f").unlink()
                (tmp_path / "e").rmdir()
                (tmp_path / "e").symlink_to("/etc")
            files[found.name] = b"".join([piece async for piece in found.content()])
    finally:
        os.close(handle)

    assert files == {"a": b"a"}
    assert len(sentences) == 4


async def test_a_file_that_grows_or_shrinks_while_it_is_read_ends_somewhere(tmp_path: Path) -> None:
    (tmp_path / "grows").write_bytes(b"g" * (MB + 5))
    (tmp_path / "shrinks").write_bytes(b"s" * (2 * MB))
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    sizes = {}
    try:
        async for found in collect(handle, limit=10 * MB):
            assert isinstance(found, Output)
            size = 0
            async for piece in found.content():
                size += len(piece)
                with (tmp_path / found.name).open("r+b") as file:
                    file.truncate(MB if found.name == "shrinks" else 9 * MB)
            sizes[found.name] = size
    finally:
        os.close(handle)

    assert sizes == {"grows": MB + 5, "shrinks": MB}


async def test_stopping_half_way_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    before = set(os.listdir("/proc/self/fd"))
    files = collect(handle, limit=MB)

    await anext(files)
    await files.aclose()

    assert set(os.listdir("/proc/self/fd")) == before
    os.close(handle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").touch(mode=0)

    _, sentences = await collected(tmp_path)

    assert len(sentences) == 2
