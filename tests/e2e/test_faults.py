# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the server in the middle of things: nothing is half-done then, and every run has a true end."""

import contextlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator

import httpx
import pytest
from tests.e2e.server import Server, a_zip, processes_of

TICKING = """
import time

def handler(event, context):
    for number in range(100_000):
        print("tick", number, flush=True)
        time.sleep(event.get("pause", 0.01))
"""


def test_a_run_under_way_is_lost_with_its_reason_and_its_log_is_kept(own_server: Server) -> None:
    own_server.task("ticking", TICKING)
    run = own_server.begin("ticking", {"pause": 0.01})
    own_server.until(run, "running")
    while "tick 20" not in own_server.log_of(run):
        time.sleep(0.05)

    own_server.kill()
    own_server.start()

    ended = own_server.ended(run)
    assert ended["state"] == "lost"
    assert "the server stopped" in ended["reason"]
    log = own_server.log_of(run)
    assert "tick 20" in log
    assert all("tick" in line or "platform" in line for line in log.splitlines())
    assert wait_for_none("tick")


def test_a_task_that_allows_it_runs_again_after_the_server_was_killed(own_server: Server) -> None:
    own_server.task(
        "again", "import time\ndef handler(event, context):\n    time.sleep(3)\n", on_lost="run_again"
    )
    run = own_server.begin("again", {})
    own_server.until(run, "running")

    own_server.kill()
    own_server.start()

    ended = own_server.ended(run)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)


def test_queued_runs_survive_and_are_run(own_server: Server) -> None:
    own_server.task(
        "slow", "import time\ndef handler(event, context):\n    time.sleep(2)\n    return event\n"
    )
    runs = [own_server.begin("slow", number) for number in range(6)]

    own_server.kill()
    own_server.start()

    ended = [own_server.ended(run) for run in runs]
    assert {one["state"] for one in ended} <= {"succeeded", "lost"}
    assert [one["result"] for one in ended if one["state"] == "succeeded"] == [
        number for number, one in enumerate(ended) if one["state"] == "succeeded"
    ]
    assert sum(one["state"] == "succeeded" for one in ended) >= 3


def test_an_upload_that_was_cut_leaves_nothing(own_server: Server) -> None:
    started = threading.Event()

    def endless() -> Iterator[bytes]:
        while True:
            started.set()
            yield os.urandom(100_000)
            time.sleep(0.01)

    def upload() -> None:
        try:
            own_server.api.put("/buckets/big/objects/half.bin", content=endless())
        except httpx.HTTPError:
            return

    uploading = threading.Thread(target=upload)
    uploading.start()
    started.wait(10)
    time.sleep(0.5)
    own_server.kill()
    uploading.join(30)
    own_server.start()

    assert own_server.api.get("/buckets/big/objects").json()["items"] == []
    assert own_server.api.get("/buckets/big/objects/half.bin").status_code == 404
    left = [path for path in (own_server.data / "state" / "blobs").rglob("*") if path.is_file()]
    assert left == []


def test_a_package_that_is_replaced_without_end_is_whole_after_every_kill(own_server: Server) -> None:
    code = "def handler(event, context):\n    import other\n    return [NUMBER, other.NUMBER]\n"
    padding = os.urandom(300_000)

    def numbered(number: int) -> bytes:
        word = f"NUMBER = {number}\n"
        return a_zip({"app.py": word + code, "other.py": word, "padding.bin": padding})

    own_server.task("replaced", numbered(0))
    put = 0

    def replace() -> None:
        nonlocal put
        with contextlib.suppress(httpx.HTTPError):
            while True:
                own_server.api.put("/buckets/tasks/objects/replaced.zip", content=numbered(put + 1))
                put += 1

    for round_ in range(4):
        before, replacing = put, threading.Thread(target=replace)
        replacing.start()
        while put < before + 2:
            time.sleep(0.01)
        time.sleep(0.013 * round_)
        own_server.kill()
        replacing.join(60)
        own_server.start()

        kept = own_server.api.get("/buckets/tasks/objects/replaced.zip").content
        run = own_server.run("replaced")

        assert zipfile.ZipFile(io.BytesIO(kept)).testzip() is None
        assert run["result"] in ([put, put], [put + 1, put + 1])
        assert f"NUMBER = {run['result'][0]}\n" in zipfile.ZipFile(io.BytesIO(kept)).read("app.py").decode()
        assert list((own_server.data / "state" / "blobs" / "incoming").iterdir()) == []
        assert list((own_server.data / "cache" / "incoming").iterdir()) == []


def test_a_log_has_every_line_that_was_seen_before_a_kill(own_server: Server) -> None:
    source = """
        import os
        def handler(event, context):
            for number in range(10_000_000):
                os.write(1, b"line %d of many, and then some more words\\n" % number)
        """
    own_server.task("writing", source)
    run = own_server.begin("writing")
    seen = []
    follow = own_server.api.stream("GET", f"/runs/{run}/log", params={"follow": "true"})
    with contextlib.suppress(httpx.HTTPError), follow as log:
        for line in log.iter_lines():
            seen += [line] if "stdout line" in line else []
            if len(seen) == 20_000 and own_server.process is not None:
                own_server.kill()
    own_server.start()

    assert own_server.ended(run)["state"] == "lost"
    kept = [line for line in own_server.log_of(run).splitlines() if "stdout" in line]
    assert kept[: len(seen)] == seen
    for number, line in enumerate(kept):
        assert line.endswith(f"stdout line {number} of many, and then some more words")


def test_what_was_answered_is_there_after_a_kill(own_server: Server) -> None:
    own_server.task("kept", "def handler(event, context):\n    return event\n")
    own_server.api.put("/secrets/kept", json={"value": "a secret worth keeping"})
    own_server.api.put("/buckets/data/objects/kept.txt", content=b"kept")
    before = own_server.run("kept", {"a": 1})

    own_server.kill()
    own_server.start()

    assert own_server.api.get("/secrets/kept/value").json() == {"value": "a secret worth keeping"}
    assert own_server.api.get("/buckets/data/objects/kept.txt").content == b"kept"
    assert own_server.api.get(f"/runs/{before['id']}").json() == before
    assert own_server.run("kept", {"a": 1})["result"] == {"a": 1}


def test_a_second_server_on_the_same_data_is_refused(own_server: Server) -> None:
    second = Server(own_server.data)

    with pytest.raises(AssertionError, match="another Longshore server uses"):
        second.start()

    second.kill()
    second.api.close()


def test_a_stopped_server_ends_well_while_a_log_is_followed(own_server: Server) -> None:
    own_server.task("ticking", TICKING)
    run = own_server.begin("ticking", {"pause": 0.05})
    own_server.until(run, "running")

    with own_server.api.stream("GET", f"/runs/{run}/log", params={"follow": "true"}) as lines:
        next(iter(lines.iter_lines()))
        code = own_server.stop()

    assert code == 0
    own_server.start()
    assert own_server.ended(run)["state"] == "lost"


def test_packages_are_not_disturbed_under_a_running_run(own_server: Server) -> None:
    source = """
        import time
        def handler(event, context):
            time.sleep(1.5)
            import late
            return late.WORD
        """
    own_server.task("pinned", a_zip({"app.py": source, "late.py": "WORD = 'old'\n"}))
    run = own_server.begin("pinned", {})
    own_server.until(run, "running")

    own_server.api.put(
        "/buckets/tasks/objects/pinned.zip",
        content=a_zip({"app.py": source, "late.py": "WORD = 'new'\n"}),
    )

    assert own_server.ended(run)["result"] == "old"
    assert own_server.run("pinned", {})["result"] == "new"


def wait_for_none(marker: str, within: float = 5) -> bool:
    """Whether no process of a marker is left after a while."""
    by = time.monotonic() + within
    while processes_of(marker) and time.monotonic() < by:
        time.sleep(0.1)
    return not processes_of(marker)
