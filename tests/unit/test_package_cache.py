# SPDX-License-Identifier: Apache-2.0
"""The machine's cache of packages: fetched once, looked at once, never believed when it is damaged."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.server import a_zip
from tests.unit.memory_link import MemoryLink, an_invocation

from longshore.adapters.archives.zips import ZipArchives
from longshore.domain.errors import Unavailable
from longshore.domain.ids import Digest
from longshore.domain.order import Lease
from longshore.interceptor import seals
from longshore.interceptor.packages import PackageCache

pytestmark = pytest.mark.anyio
PACKAGE = a_zip({"app.py": b"x = 1\n", "lib/more.py": b"y = 2\n"})
DIGEST = Digest(hashlib.sha256(PACKAGE).hexdigest())


@pytest.fixture
def link() -> MemoryLink:
    return MemoryLink()


@pytest.fixture
def lease(link: MemoryLink) -> Lease:
    return link.lease_out(an_invocation("run"))


def opened(home: Path) -> PackageCache:
    """The cache as a server finds it at its start."""
    return PackageCache(home, ZipArchives(), ())


async def test_a_package_is_fetched_once_for_all_servers_to_come(
    link: MemoryLink, lease: Lease, tmp_path: Path
) -> None:
    link.contents[DIGEST] = [PACKAGE]

    for _ in range(2):
        cache = opened(tmp_path)
        for _ in range(2):
            assert (await cache.code(link, lease, DIGEST) / "lib" / "more.py").read_text() == "y = 2\n"


async def test_what_arrives_damaged_is_asked_for_once_more(
    link: MemoryLink, lease: Lease, tmp_path: Path
) -> None:
    link.contents[DIGEST] = [PACKAGE[:-1], PACKAGE]

    assert (await opened(tmp_path).code(link, lease, DIGEST)).is_dir()
    assert link.contents[DIGEST] == []


async def test_what_arrives_damaged_twice_is_given_up_and_leaves_nothing(
    link: MemoryLink, lease: Lease, tmp_path: Path
) -> None:
    link.contents[DIGEST] = [b"other", b"bytes", PACKAGE]
    cache = opened(tmp_path)

    with pytest.raises(Unavailable, match=f"what arrived for {DIGEST} is damaged"):
        await cache.code(link, lease, DIGEST)

    assert link.contents[DIGEST] == [PACKAGE]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (await cache.code(link, lease, DIGEST)).is_dir()


async def test_a_tree_whose_seal_was_never_written_is_not_believed(
    link: MemoryLink, lease: Lease, tmp_path: Path
) -> None:
    link.contents[DIGEST] = [PACKAGE, PACKAGE]
    await opened(tmp_path).code(link, lease, DIGEST)
    (tmp_path / "seals" / DIGEST).unlink()

    await opened(tmp_path).code(link, lease, DIGEST)

    assert link.contents[DIGEST] == []


def test_what_a_killed_server_left_half_done_goes_at_the_next_start(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"half a package")
    (tmp_path / "code" / ".abc.x1y2" / "lib").mkdir(parents=True)
    (tmp_path / "code" / ".abc.x1y2" / "lib" / "app.py").write_text("half")
    (tmp_path / "code" / "whole").mkdir()

    opened(tmp_path)

    assert list((tmp_path / "incoming").iterdir()) == []
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["whole"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "lib" / "app.py").write_bytes(b"x = 2\n"),
        lambda tree: (tree / "lib" / "app.py").chmod(0o755),
        lambda tree: (tree / "lib" / "app.py").unlink(),
        lambda tree: (tree / "lib" / "app.py").rename(tree / "app.py"),
        lambda tree: (tree / "link").unlink(),
        lambda tree: (tree / "link").rename(tree / "other"),
        lambda tree: (tree / "more").mkdir(),
    ],
)
def test_a_seal_is_broken_by_any_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    tree, place = tmp_path / "tree", tmp_path / "seal"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "app.py").write_bytes(b"x = 1\n")
    (tree / "link").symlink_to("lib/app.py")
    seals.keep(place, seals.seal(tree))
    assert seals.holds(tree, place)

    change(tree)

    assert not seals.holds(tree, place)
