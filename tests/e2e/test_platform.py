# SPDX-License-Identifier: Apache-2.0
"""A handler that calls the platform at 127.0.0.1:9002, and what else it is allowed, in real sandboxes."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.e2e.server import Server

CALLING = """
import json, os, urllib.request

def call(path, data=None, method=None, token=os.environ["LONGSHORE_TOKEN"]):
    url = os.environ["LONGSHORE_URL"] + "/api/v1" + path
    asked = urllib.request.Request(url, data=data, method=method)
    if token:
        asked.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return answer.read()

def handler(event, context):
    place = "/projects/" + os.environ["LONGSHORE_PROJECT"]
    me = json.loads(call("/me", **event))
    call(place + "/buckets/reports/objects/large.bin", data=b"x" * 5_000_000, method="PUT")
    return {
        "url": os.environ["LONGSHORE_URL"],
        "me": me,
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

    for ended in [server.run(f"calling-{network}", {}) for _ in range(3)]:
        assert ended["state"] == "succeeded", ended
        result = ended["result"]
        assert (result["url"] == "http://127.0.0.1:9002") == (network != "host")
        assert result["me"] == {"name": f"run of calling-{network}", "role": "runner", "project": "default"}
        assert (result["size"], result["state"]) == (5_000_000, "running")
        assert "lsh_" not in server.log_of(ended["id"])
    assert ended["cold"] is False


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_word_for_the_token_will_do_where_nobody_else_can_come(server: Server, network: str) -> None:
    server.task(f"wording-{network}", CALLING, network=network)

    for token in ("any word", None):
        ended = server.run(f"wording-{network}", {"token": token})

        if network == "host":
            assert "401" in ended["error"]["message"]
        else:
            assert ended["state"] == "succeeded", ended


@pytest.mark.parametrize("network", ["none", "egress", "host"])
def test_the_platform_has_the_same_address_in_every_mode(server: Server, network: str) -> None:
    code = """
    import os, urllib.request
    def handler(event, context):
        asked = urllib.request.Request("http://127.0.0.1:9002/api/v1/me")
        asked.add_header("Authorization", "Bearer " + (event.get("token") or os.environ["LONGSHORE_TOKEN"]))
        return urllib.request.urlopen(asked, timeout=20).read().decode()
    """
    server.task(f"same-{network}", code, network=network)
    has_users = os.geteuid() == 0  # a server that is no root has one user for all its cells

    for event in ({}, {"token": "any word"} if has_users or network != "host" else {}):
        ended = server.run(f"same-{network}", event)

        if any("LONGSHORE_URL says where it is" in notice for notice in ended["notices"]):
            pytest.skip("another server of this machine has the port")
        assert ended["state"] == "succeeded", ended
        assert f"run of same-{network}" in ended["result"]


def test_the_word_is_a_secret_where_others_can_come(server: Server) -> None:
    code = "import os\ndef handler(event, context):\n    print('word', os.environ['LONGSHORE_TOKEN'])\n"
    server.task("telling", code, network="host")

    log = server.log_of(server.run("telling", {})["id"])

    assert "word ***" in log


def test_what_one_run_has_begun_is_not_answered_in_the_name_of_the_next(server: Server) -> None:
    code = """
    import os, socket
    kept = []
    ASKED = b"GET /api/v1/me HTTP/1.1\\r\\nHost: platform\\r\\nConnection: close\\r\\n"
    def handler(event, context):
        if not kept:
            for sent in (b"", ASKED):
                one = socket.create_connection(("127.0.0.1", 9002), timeout=20)
                one.sendall(sent)
                kept.append((one, (ASKED + b"\\r\\n")[len(sent):]))
            return "begun"
        heard = []
        for one, rest in kept:
            try:
                one.sendall(rest)
                heard.append(one.recv(100).decode())
            except OSError as error:
                heard.append("")
        with socket.create_connection(("127.0.0.1", 9002), timeout=20) as fresh:
            fresh.sendall(ASKED + b"\\r\\n")
            return heard, fresh.recv(15).decode()
    """
    server.task("keeping", code)

    begun, late = server.run("keeping", {}), server.run("keeping", {})

    assert (begun["result"], late["cold"]) == ("begun", False)
    assert late["result"] == [["", ""], "HTTP/1.1 200 OK"]


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
