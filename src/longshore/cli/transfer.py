# SPDX-License-Identifier: Apache-2.0
"""Files on their way to and from buckets, and a package that is put back when what it was for fails."""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from longshore.cli.ending import Refused, Stop, Unreachable
from longshore.cli.output import progress, say
from longshore.domain.package import TASKS_BUCKET

if TYPE_CHECKING:
    from longshore.cli.client import Api, Document

PIECE = 256 * 1024
LARGEST_LIST = 10_000
Write = Callable[[bytes], object]


def sent(api: "Api", file: Path, bucket: str, key: str) -> "Document":
    """Put a file as an object, with a bar on a terminal."""
    size = file.stat().st_size
    with progress(f"{file.name} to {bucket}", size) as advance, file.open("rb") as source:

        def pieces() -> Iterator[bytes]:
            while piece := source.read(PIECE):
                advance(len(piece))
                yield piece

        return api.upload(api.object(bucket, key), pieces(), size)


def fetched(api: "Api", bucket: str, key: str, target: Path, *, replace: bool) -> "tuple[int, str]":
    """Write an object to a file: all of it or nothing. Its size and digest."""
    refuse_to_overwrite(target, replace)
    number, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with open(number, "wb") as out:
            size, digest = _received(api, bucket, key, out.write)
            os.fchmod(out.fileno(), 0o666 & ~_umask())
        refuse_to_overwrite(target, replace)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return size, digest


def passed_on(api: "Api", bucket: str, key: str) -> None:
    """An object's bytes to stdout."""
    sys.stdout.flush()
    _received(api, bucket, key, sys.stdout.buffer.write)
    sys.stdout.buffer.flush()


def refuse_to_overwrite(target: Path, replace: bool) -> None:
    """Raise Refused for a file that is there, unless it may be replaced."""
    if target.is_dir():
        raise Refused(f"{target} is a directory; give a file with -o")
    if not replace and os.path.lexists(target):
        raise Refused(f"{target} is there already; give another with -o, or --force to replace it")
    if target.exists() and not target.is_file():
        raise Refused(f"{target} is no file that could be replaced; write to it with: -o - > {target}")
    if not target.parent.is_dir():
        raise Refused(f"{target.parent} is not a directory; create it, or write elsewhere with -o")


def _received(api: "Api", bucket: str, key: str, write: Write) -> "tuple[int, str]":
    summed, size = hashlib.sha256(), 0
    with api.stream(api.object(bucket, key)) as answer:
        length = answer.headers.get("Content-Length", "")
        with progress(key, int(length) if length.isdigit() else None) as advance:
            for piece in answer.iter_bytes():
                write(piece)
                summed.update(piece)
                size += len(piece)
                advance(len(piece))
        expected = answer.headers.get("ETag", "").strip('"')
    if expected and expected != summed.hexdigest():
        raise Unreachable(f"{key} arrived damaged: its sha256 is not {expected}; try again")
    return size, summed.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def package_in_place(api: "Api", file: Path, *, user: str) -> Iterator[str]:
    """The file as an object of bucket `tasks`, and its key, while the body saves the task `user`.

    What the key named before is put back when the body fails. A package of that name that another task runs
    is not replaced, because that would change the other task: raises Refused saying which.
    """
    key = file.name
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    before = api.digest_of(TASKS_BUCKET, key)
    if before == digest:
        yield key
        return
    if before is not None:
        _refuse_if_others_run(api, key, user)
    with tempfile.TemporaryDirectory(prefix="longshore-") as place:
        old = Path(place, "old") if before is not None else None
        if old:
            fetched(api, TASKS_BUCKET, key, old, replace=False)
        sent(api, file, TASKS_BUCKET, key)
        try:
            yield key
        except BaseException:
            _put_back(api, key, old)
            raise


def _refuse_if_others_run(api: "Api", key: str, user: str) -> None:
    tasks = api.listed(api.place("tasks"), limit=LARGEST_LIST)["items"]
    running = [str(task["name"]) for task in tasks if task["package_name"] == key]
    if running and user not in running:
        raise Refused(
            f"bucket tasks has another {key}, which the task {running[0]} runs; rename the file,"
            f" or change that task too with: longshore artifact put tasks {key}"
        )


def _put_back(api: "Api", key: str, old: Path | None) -> None:
    try:
        if old is None:
            api.delete(api.object(TASKS_BUCKET, key))
        else:
            sent(api, old, TASKS_BUCKET, key)
    except Stop as stop:
        say(f"{key} stays in bucket tasks: {stop.sentence}")
