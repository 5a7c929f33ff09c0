# SPDX-License-Identifier: Apache-2.0
"""What every store of bytes promises (ports.blobs), and what the one on disk promises beyond that."""

import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from longshore.adapters.blobs_disk import DiskBlobs
from longshore.domain.errors import Conflict, NotFound, OutOfSpace, TooLarge, Unavailable
from longshore.domain.ids import Digest
from longshore.ports.blobs import Blobs

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


async def kept(blobs: Blobs, *content: bytes) -> Digest:
    async with blobs.stage(pieces(*content), limit=sum(map(len, content))) as staged:
        await blobs.keep(staged)
    return staged.digest


async def read(blobs: Blobs, digest: Digest, *, start: int = 0) -> Sequence[bytes]:
    return [piece async for piece in blobs.read(digest, start=start)]


class BlobsContract:
    """Every adapter's test class derives from this one and gives the fixture."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        raise NotImplementedError

    async def test_what_was_kept_is_read_again(self, blobs: Blobs) -> None:
        digest = await kept(blobs, b"one ", b"", b"two")

        assert digest == digest_of(b"one two")
        assert b"".join(await read(blobs, digest)) == b"one two"
        assert await blobs.size(digest) == 7

    async def test_nothing_at_all_can_be_kept(self, blobs: Blobs) -> None:
        digest = await kept(blobs)

        assert await read(blobs, digest) == []
        assert await blobs.size(digest) == 0

    async def test_staged_bytes_are_a_file_with_its_size_and_digest(self, blobs: Blobs) -> None:
        async with blobs.stage(pieces(b"abc"), limit=3) as staged:
            assert staged.path.read_bytes() == b"abc"
            assert (staged.size, staged.digest) == (3, digest_of(b"abc"))

    async def test_what_was_staged_and_not_kept_is_gone(self, blobs: Blobs) -> None:
        async with blobs.stage(pieces(b"abc"), limit=3) as staged:
            pass

        assert not staged.path.exists()
        with pytest.raises(NotFound):
            await read(blobs, staged.digest)
        with pytest.raises(NotFound):
            await blobs.size(staged.digest)

    async def test_a_large_object_comes_in_pieces_of_at_most_a_mebibyte(self, blobs: Blobs) -> None:
        content = os.urandom(3 * MIB + 5)
        digest = await kept(blobs, content)

        found = await read(blobs, digest)

        assert b"".join(found) == content
        assert max(map(len, found)) <= MIB

    async def test_reading_may_start_anywhere(self, blobs: Blobs) -> None:
        digest = await kept(blobs, b"0123456789")

        assert b"".join(await read(blobs, digest, start=7)) == b"789"
        assert await read(blobs, digest, start=10) == []
        assert await read(blobs, digest, start=11) == []

    async def test_the_limit_itself_fits_and_the_first_byte_past_it_does_not(self, blobs: Blobs) -> None:
        taken = []

        async def endless() -> AsyncIterator[bytes]:
            while True:
                taken.append(1)
                yield b"x" * 10

        await kept(blobs, b"x" * 30)
        with pytest.raises(TooLarge, match="30"):
            async with blobs.stage(endless(), limit=30):
                raise AssertionError("it was let in")

        assert len(taken) == 4

    async def test_keeping_the_same_bytes_twice_is_harmless(self, blobs: Blobs) -> None:
        first = await kept(blobs, b"same")

        async with blobs.stage(pieces(b"sa", b"me"), limit=4) as staged:
            await blobs.keep(staged)
            await blobs.keep(staged)

        assert staged.digest == first
        assert b"".join(await read(blobs, first)) == b"same"

    async def test_forgetting_is_harmless_when_there_is_nothing(self, blobs: Blobs) -> None:
        digest = await kept(blobs, b"abc")

        await blobs.forget(digest)
        await blobs.forget(digest)

        with pytest.raises(NotFound):
            await read(blobs, digest)

    async def test_a_path_is_not_a_digest(self, blobs: Blobs) -> None:
        for wrong in ("", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"):
            with pytest.raises(NotFound):
                await read(blobs, Digest(wrong))
            await blobs.forget(Digest(wrong))

    async def test_many_may_come_at_once(self, blobs: Blobs) -> None:
        contents = [bytes([n % 5]) * MIB for n in range(20)]

        digests = await asyncio.gather(*(kept(blobs, content) for content in contents))

        assert digests == [digest_of(content) for content in contents]


class TestDiskBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return DiskBlobs(tmp_path)

    def incoming(self, root: Path) -> Sequence[Path]:
        return sorted((root / "incoming").iterdir())

    async def test_a_file_is_named_by_its_digest(self, blobs: Blobs, tmp_path: Path) -> None:
        digest = await kept(blobs, b"abc")

        assert (tmp_path / digest[:2] / digest).read_bytes() == b"abc"
        assert self.incoming(tmp_path) == []

    async def test_nothing_is_left_of_a_sender_that_fails(self, blobs: Blobs, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 2 * MIB
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            async with blobs.stage(broken(), limit=9 * MIB):
                raise AssertionError("it was let in")

        assert self.incoming(tmp_path) == []

    async def test_nothing_is_left_of_a_cancelled_upload(self, blobs: Blobs, tmp_path: Path) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MIB

        async def upload() -> None:
            async with blobs.stage(endless(), limit=1 << 60):
                raise AssertionError("it was let in")

        task = asyncio.create_task(upload())
        while not any(path.stat().st_size for path in self.incoming(tmp_path)):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert self.incoming(tmp_path) == []

    @pytest.mark.parametrize(
        ("number", "raised"),
        [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, Unavailable)],
    )
    async def test_a_disk_that_refuses_is_named_and_nothing_is_left(
        self,
        blobs: Blobs,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        raised: type[Exception],
    ) -> None:
        def full(fd: int, content: bytes, offset: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "pwrite", full)

        with pytest.raises(raised) as caught:
            await kept(blobs, b"abc")

        assert type(caught.value) is raised
        assert self.incoming(tmp_path) == []

    async def test_keeping_what_was_dropped_is_refused(self, blobs: Blobs) -> None:
        async with blobs.stage(pieces(b"abc"), limit=3) as staged:
            pass

        with pytest.raises(Conflict):
            await blobs.keep(staged)

    async def test_a_reader_gets_to_the_end_of_what_is_forgotten_meanwhile(self, blobs: Blobs) -> None:
        digest = await kept(blobs, b"a" * 2 * MIB)
        found = []

        async for piece in blobs.read(digest):
            found.append(piece)
            await blobs.forget(digest)

        assert sum(map(len, found)) == 2 * MIB

    async def test_uploads_of_a_living_process_survive_the_start_of_another(
        self, blobs: Blobs, tmp_path: Path
    ) -> None:
        async with blobs.stage(pieces(b"abc"), limit=3) as staged:
            DiskBlobs(tmp_path)
            await blobs.keep(staged)

        assert b"".join(await read(blobs, staged.digest)) == b"abc"

    async def test_leftovers_of_a_killed_process_are_gone_after_the_next_start(self, tmp_path: Path) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", _UPLOADS_AND_WAITS, str(tmp_path)], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"staged\n"
            child.send_signal(signal.SIGKILL)
        assert len(self.incoming(tmp_path)) == 1

        DiskBlobs(tmp_path)

        assert self.incoming(tmp_path) == []

    async def test_two_hundred_megabytes_cost_no_memory(self, tmp_path: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", _UPLOADS_MUCH, str(tmp_path)], capture_output=True, text=True, check=True
        )

        assert int(ended.stdout) < 30 * 1024


_UPLOADS_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from longshore.adapters.blobs_disk import DiskBlobs

async def stream():
    yield b"x" * 3000000
    print("staged", flush=True)
    await asyncio.sleep(600)
    yield b""

async def main():
    async with DiskBlobs(Path(sys.argv[1])).stage(stream(), limit=1 << 40):
        pass

asyncio.run(main())
"""

_UPLOADS_MUCH = """
import asyncio, resource, sys
from pathlib import Path
from longshore.adapters.blobs_disk import DiskBlobs

def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def stream():
    for n in range(3200):
        yield bytes([n % 251]) * 65536

async def main():
    blobs = DiskBlobs(Path(sys.argv[1]))
    before = peak_kib()
    async with blobs.stage(stream(), limit=1 << 40) as staged:
        await blobs.keep(staged)
    async for piece in blobs.read(staged.digest):
        pass
    await blobs.forget(staged.digest)
    print(peak_kib() - before)

asyncio.run(main())
"""
