# SPDX-License-Identifier: Apache-2.0
"""A handler that calls the platform at 127.0.0.1:9002, and what else it is allowed, in real sandboxes."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.e2e.server import Server

CALLING = """
import json, os, urllib.request

def call(path, data=None, method=None, token="run"):
    url = os.environ["LONGSHORE_URL"] + "/api/v1" + path
    asked = urllib.request.Request(url, data=data, method=method)
    if token:
        asked.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return answer.read()

def handler(event, context):
    place = "/projects/" + os.environ["LONGSHORE_PROJECT"]
    me = json.loads(call("/me", token=event.get("token")))
    call(place + "/buckets/reports/objects/large.bin", data=b"x" * 5_000_000, method="PUT")
    print("token", os.environ["LONGSHORE_TOKEN"], flush=True)
    return {
        "url": os.environ["LONGSHORE_URL"],
        "me": me,
        "mine": json.loads(call("/me", token=os.environ["LONGSHORE_TOKEN"])),
        "size": len(call(place + "/buckets/reports/objects/large.bin")),
        "state": json.loads(call(place + "/runs/" + os.environ["LONGSHORE_RUN_ID"]))["state"],
    }
"""
FETCHING = """
import socket

def handler(event, context):
    with socket.create_connection((event["host"], event["port"]), timeout=10) as one:
        one.sendall(b"from a handler")
        one.shutdown(socket.SHUT_WR)
        return one.recv(100).decode()
"""


@contextlib.contextmanager
def answering() -> Iterator[int]:
    """A server on the machine's loopback that says what it heard; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = server.accept()
                    with one:
                        one.sendall(b"heard " + one.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("network", ["none", "egress", "host"])
def test_a_handler_calls_the_platform_whatever_its_network(server: Server, network: str) -> None:
    server.task(f"calling-{network}", CALLING, network=network)
    is_private = network != "host"

    ended = server.run(f"calling-{network}", {"token": "run"} if is_private else {"token": None})

    if not is_private:  # on the machine's network a handler must show its token; this one did not
        assert ended["state"] == "failed"
        assert "401" in ended["error"]["message"]
        return
    assert ended["state"] == "succeeded", ended
    result = ended["result"]
    assert result["url"] == "http://127.0.0.1:9002"
    assert result["me"] == result["mine"]
    assert result["me"] == {"name": f"run of calling-{network}", "role": "runner", "project": "default"}
    assert (result["size"], result["state"]) == (5_000_000, "running")
    log = server.log_of(ended["id"])
    assert "token" in log
    assert "lsh_" not in log


@pytest.mark.parametrize("network", ["none", "egress"])
def test_a_server_on_the_machines_loopback_is_reached_when_it_is_allowed(
    server: Server, network: str
) -> None:
    with answering() as port, answering() as other:
        server.task(f"fetching-{network}", FETCHING, network=network, allow=[f"127.0.0.1:{port}"])

        allowed = server.run(f"fetching-{network}", {"host": "127.0.0.1", "port": port})
        refused = server.run(f"fetching-{network}", {"host": "127.0.0.1", "port": other})

    assert allowed["result"] == "heard from a handler", allowed
    assert refused["state"] == "failed"
    assert "Connection refused" in refused["error"]["message"]
