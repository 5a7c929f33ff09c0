# SPDX-License-Identifier: Apache-2.0
"""Packages that go, change or rot while runs of theirs wait or work: a run has the package it was queued
with, whole, or fails with the reason."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.server import Server, a_zip

SAYS = "WORD = {!r}\ndef handler(event, context):\n    import other\n    return WORD + other.MORE\n"


def package(word: str) -> bytes:
    return a_zip({"app.py": SAYS.format(word), "other.py": "MORE = '!'\n", "data/large.bin": bytes(300_000)})


def replaced(server: Server, task: str, word: str) -> None:
    server.api.put(f"/buckets/tasks/objects/{task}.zip", content=package(word)).raise_for_status()


def test_a_run_that_waits_has_the_package_that_it_was_queued_with(server: Server) -> None:
    server.task("redeployed", package("old"))
    with server.occupied():
        run = server.begin("redeployed")
        replaced(server, "redeployed", "new")
        after = server.begin("redeployed")

    assert server.ended(run)["result"] == "old!"
    assert server.ended(after)["result"] == "new!"


def test_a_package_whose_object_is_deleted_serves_the_runs_that_were_queued_with_it(server: Server) -> None:
    server.task("moved", package("first"))
    with server.occupied():
        run = server.begin("moved")
        server.api.put("/buckets/tasks/objects/second.zip", content=package("second")).raise_for_status()
        server.api.patch("/tasks/moved", json={"package": "second.zip"}).raise_for_status()
        server.api.delete("/buckets/tasks/objects/moved.zip").raise_for_status()

    assert server.ended(run)["result"] == "first!"
    assert server.run("moved")["result"] == "second!"


def test_a_task_that_is_deleted_finishes_what_was_asked_of_it(server: Server) -> None:
    slow = f"import time\ntime.sleep(0.5)\n{SAYS.format('slow')}"
    server.task("deleted", a_zip({"app.py": slow, "other.py": "MORE = '!'\n"}))
    with server.occupied():
        waiting = server.begin("deleted")
        server.api.delete("/tasks/deleted").raise_for_status()
    server.task("deleted-at-work", a_zip({"app.py": slow, "other.py": "MORE = '!'\n"}))
    working = server.begin("deleted-at-work")
    server.until(working, "running")
    server.api.delete("/tasks/deleted-at-work").raise_for_status()

    for run in (waiting, working):
        ended = server.ended(run)
        assert (ended["state"], ended["result"]) == ("succeeded", "slow!"), ended["reason"]


def overwritten(tree: Path) -> None:
    for file in [*tree.rglob("app*.py"), *tree.rglob("app*.pyc")]:
        file.write_bytes(file.read_bytes().replace(b"good", b"evil"))


def emptied(tree: Path) -> None:
    """As after a power failure: names are there, bytes are not."""
    for file in [*tree.rglob("*.py"), *tree.rglob("*.pyc")]:
        file.write_bytes(b"")


def shortened(tree: Path) -> None:
    (tree / "other.py").unlink()
    for file in tree.rglob("other*.pyc"):
        file.unlink()


def joined(tree: Path) -> None:
    (tree / "sitecustomize.py").write_text("raise SystemExit(7)\n")
    (tree / "json.py").write_text("raise SystemExit(7)\n")


@pytest.mark.parametrize("damage", [overwritten, emptied, shortened, joined, shutil.rmtree])
def test_a_package_that_was_damaged_in_the_cache_is_fetched_again(
    own_server: Server, damage: Callable[[Path], None]
) -> None:
    digest = own_server.task("rotten", package("good"))["package"]
    assert own_server.run("rotten")["result"] == "good!"

    own_server.kill()
    damage(own_server.data / "cache" / "code" / digest)
    own_server.start()

    assert own_server.run("rotten")["result"] == "good!"
    left = [path.name for path in (own_server.data / "cache" / "code").iterdir()]
    assert left == [digest]


def test_an_input_that_was_damaged_in_the_cache_is_fetched_again(own_server: Server) -> None:
    source = "def handler(event, context):\n    return open(event['file']).read()\n"
    own_server.task("reads", source, parameters=[{"name": "file", "type": "artifact"}])
    own_server.api.put("/buckets/data/objects/in.txt", content=b"as it was").raise_for_status()
    assert own_server.run("reads", {"file": "data/in.txt"})["result"] == "as it was"

    own_server.kill()
    [cached] = (own_server.data / "cache" / "inputs").iterdir()
    cached.chmod(0o644)
    cached.write_bytes(b"as it is now")
    own_server.start()

    assert own_server.run("reads", {"file": "data/in.txt"})["result"] == "as it was"


def test_a_package_that_is_damaged_where_it_is_kept_fails_its_runs_and_says_so(server: Server) -> None:
    digest = server.task("unsound", package("sound"))["package"]
    kept = server.data / "state" / "blobs" / digest[:2] / digest
    whole = kept.read_bytes()

    kept.write_bytes(whole[:-7] + b"damaged")
    damaged = server.run("unsound")
    kept.unlink()
    missing = server.run("unsound")
    kept.write_bytes(whole)
    sound = server.run("unsound")

    assert (damaged["state"], damaged["started_at"]) == ("failed", None)
    assert f"what arrived for {digest} is damaged" in damaged["reason"]
    assert (missing["state"], missing["started_at"]) == ("failed", None)
    assert f"there are no bytes with the digest {digest}" in missing["reason"]
    assert sound["result"] == "sound!"
    assert list((server.data / "cache" / "incoming").iterdir()) == []
