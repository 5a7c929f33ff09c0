# SPDX-License-Identifier: Apache-2.0
"""What a cell reaches in each mode, over a network of the test's own: nothing is sent to anybody else."""

import asyncio
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sandbox.cells import ENVIRONMENT, Bench
from tests.sandbox.conftest import opened

from longshore.adapters.sandbox import egress, wires
from longshore.domain.errors import Unavailable
from longshore.domain.network import Address, Network, NetworkMode, address
from longshore.interceptor.runtimes import PreparedRuntime
from longshore.ports.sandbox import CLOSED

TRY = """
import json, os, socket, time
found = {}
for name, (host, port) in json.loads(os.environ["TRY"]).items():
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=5) as one:
            found[name] = "OPEN " + one.recv(100).decode()
    except OSError as error:
        found[name] = type(error).__name__
    found[name + "_quick"] = time.monotonic() - began < 2
found["hosts"] = open("/etc/hosts").read()
found["resolv"] = open("/etc/resolv.conf").read()
found["devices"] = sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line)
print(json.dumps(found), flush=True)
os._exit(0)
"""
LAB = Path(__file__).with_name("lab.py")
OPEN_TUN = 'mount -t tmpfs tun /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'


@pytest.mark.anyio
async def test_none_reaches_nothing_but_its_own_loopback(walled: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        _, heard = await walled.ran(
            TRY, environment={"TRY": json.dumps({"host": ("127.0.0.1", port)})}, network=CLOSED
        )

    found = heard.json()
    assert found["host"] == "ConnectionRefusedError"
    assert found["devices"] == ["lo"]
    assert found["resolv"] == ""


@pytest.mark.anyio
async def test_allowed_pairs_are_doors_inside_whatever_the_mode(walled: Bench) -> None:
    pairs = tuple(
        map(address, ("127.0.0.1:25", "[::1]:1025", "10.1.2.3:443", "mail.internal:587", "mail.internal:25"))
    )
    cell = await walled.sandbox.launch(walled.spec(TRY, network=Network(NetworkMode.NONE, pairs)))
    try:
        assert set(cell.doors) == set(pairs)
        assert cell.doors[pairs[0]].getsockname() == ("127.0.0.1", 25)
        assert cell.doors[pairs[1]].getsockname()[:2] == ("::1", 1025)
        assert cell.doors[pairs[2]].getsockname() == ("10.1.2.3", 443)
        assert cell.doors[pairs[3]].getsockname() == ("127.0.9.1", 587)
        assert cell.doors[pairs[4]].getsockname() == ("127.0.9.1", 25)
        assert cell.platform.getsockname() == ("127.0.0.1", 9002)
        assert cell.notices == ()
    finally:
        await cell.kill()
    assert all(door.fileno() == -1 for door in [*cell.doors.values(), cell.platform])


@pytest.mark.anyio
async def test_a_named_pair_is_found_by_its_name(walled: Bench) -> None:
    pair = Address("mail.internal", 587)

    _, heard = await walled.ran(
        TRY, environment={"TRY": "{}"}, network=Network(NetworkMode.NONE, (pair, Address("localhost", 25)))
    )

    assert "127.0.9.1 mail.internal\n" in heard.json()["hosts"]


@pytest.mark.anyio
async def test_host_is_the_machines_own_network(walled: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        spec = walled.spec(TRY, network=Network(NetworkMode.HOST))
        cell = await walled.sandbox.launch(spec)
        try:
            assert cell.platform.getsockname()[1] not in (9001, 9002)
            with socket.create_connection(cell.platform.getsockname(), timeout=5):
                pass
        finally:
            await cell.kill()

        ended, heard = await walled.ran(
            TRY.replace(".recv(100).decode()", ".getpeername()[0]"),
            environment={"TRY": json.dumps({"host": ("127.0.0.1", port)})},
            network=Network(NetworkMode.HOST),
        )

    assert ended.code == 0, heard.err
    assert heard.json()["host"] == "OPEN 127.0.0.1"


@pytest.mark.anyio
async def test_a_cell_without_pasta_runs_on_without_a_way_out_and_says_so(
    walled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "missing", lambda: "pasta is not installed; install it with: ...")

    cell = await walled.sandbox.launch(walled.spec("", network=Network()))
    await cell.kill()

    assert cell.notices == ("this run has no outbound network: pasta is not installed; install it with: ...",)


@pytest.mark.anyio
async def test_a_pasta_that_fails_is_quoted(walled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "missing", lambda: None)
    monkeypatch.setattr(
        egress, "command", lambda **_: ["/bin/sh", "-c", "echo no interface here >&2; exit 1"]
    )

    cell = await walled.sandbox.launch(walled.spec("", network=Network()))
    await cell.kill()

    [notice] = cell.notices
    assert "no outbound network: pasta does not work here (no interface here)" in notice


@pytest.mark.anyio
async def test_a_pasta_that_is_late_is_asked_again_by_the_next_cell(
    walled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "missing", lambda: None)
    monkeypatch.setattr(egress, "command", lambda **_: ["/bin/sleep", "600"])
    monkeypatch.setattr(wires, "WAY_OUT_WITHIN_S", 0.1)
    monkeypatch.setattr(wires, "SEALED_WITHIN_S", 0.1)

    cell = await walled.sandbox.launch(walled.spec("", network=Network()))
    [notice] = cell.notices
    with pytest.raises(Unavailable, match="network"):
        await cell.resume({})
    await cell.kill()
    monkeypatch.setattr(egress, "command", lambda **_: ["/bin/sh", "-c", "echo I was asked >&2; exit 1"])
    other = await walled.sandbox.launch(walled.spec("", network=Network()))
    await other.kill()

    assert "no outbound network: pasta was not ready within 0.1 s" in notice
    assert "I was asked" in other.notices[0]


@pytest.mark.anyio
async def test_a_door_that_cannot_be_laid_ends_the_launch_and_leaves_nothing(
    walled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "PROGRAM", walled.place / "nothing.py")

    with pytest.raises(Exception, match="the sandbox's network could not be laid"):
        await walled.sandbox.launch(
            walled.spec("", network=Network(NetworkMode.NONE, (Address("127.0.0.1", 25),)))
        )


@pytest.mark.anyio
async def test_pasta_ends_with_its_cell(walled: Bench) -> None:
    if why := egress.missing():
        pytest.skip(why)
    cell = await walled.sandbox.launch(walled.spec("", network=Network()))
    if cell.notices:
        await cell.kill()
        pytest.skip(cell.notices[0])

    before = pastas_below_us()
    await cell.kill()

    await until(lambda: pastas_below_us() == [])
    assert len(before) == 1


@pytest.mark.anyio
async def test_a_way_out_that_is_gone_is_noticed_before_the_next_run(walled: Bench) -> None:
    if why := egress.missing():
        pytest.skip(why)
    spec = walled.spec("def handler(event, context):\n    pass\n", network=Network())
    waiting = await walled.sandbox.prepare(spec.frame, ENVIRONMENT)
    assert waiting is not None
    cell = await walled.sandbox.launch(spec)
    try:
        if waiting.notices or cell.notices:
            pytest.skip(str((*waiting.notices, *cell.notices)))
        pastas = pastas_below_us()
        for pid in pastas:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pastas))

        with pytest.raises(Unavailable, match="network"):
            await waiting.furnish(spec)
        with pytest.raises(Unavailable, match="network"):
            await cell.resume({})
    finally:
        await waiting.kill()
        await cell.kill()


@pytest.mark.anyio
@pytest.mark.parametrize("mode", NetworkMode)
async def test_a_cell_waits_no_longer_than_its_machine_stays_as_it_was(
    walled: Bench, monkeypatch: pytest.MonkeyPatch, mode: NetworkMode
) -> None:
    monkeypatch.setattr(egress, "missing", lambda: "pasta is not installed; install it with: ...")
    spec = walled.spec("def handler(event, context):\n    pass\n", network=Network(mode))
    waiting = [await walled.sandbox.prepare(spec.frame, ENVIRONMENT) for _ in range(2)]
    try:
        assert waiting[0] is not None
        await waiting[0].furnish(spec)
        own = egress.own_addresses()
        monkeypatch.setattr(egress, "LOOK_EVERY_S", -1)
        monkeypatch.setattr(egress, "own_addresses", lambda: [*own, ipaddress.ip_address("192.0.2.77")])

        assert waiting[1] is not None
        if mode is NetworkMode.EGRESS:
            with pytest.raises(Unavailable, match="not the one that the machine has now"):
                await waiting[1].furnish(spec)
        else:
            await waiting[1].furnish(spec)
    finally:
        for cell in waiting:
            if cell is not None:
                await cell.kill()


@pytest.mark.anyio
async def test_without_walls_none_is_not_had_and_the_cell_says_so(
    runtime: PreparedRuntime, place: Path
) -> None:
    sandbox = await opened("process", place / "sandbox")
    bench = Bench(sandbox, runtime, place)
    try:
        none = await sandbox.launch(bench.spec(network=CLOSED))
        usual = await sandbox.launch(bench.spec(network=Network()))
    finally:
        await sandbox.close()

    [notice] = none.notices
    assert "reaches all that its machine reaches, although its network is none" in notice
    assert usual.notices == ()


def pastas_below_us() -> list[int]:
    """Our children that are pasta."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        pids = [int(word) for word in file.read().split()]
    return [pid for pid in pids if b"--no-map-gw" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def until(is_so: Callable[[], bool], *, within: float = 10) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(within):
        while not is_so():
            await asyncio.sleep(0.005)


def test_a_resolver_on_the_machines_loopback_is_stood_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, upstream = tmp_path / "resolv.conf", tmp_path / "upstream.conf"
    monkeypatch.setattr(egress, "_RESOLV", stub)
    monkeypatch.setattr(egress, "_UPSTREAM", upstream)
    stub.write_text("search example.com\nnameserver 127.0.0.53\noptions edns0\n")

    alone = egress.resolver()
    upstream.write_text("nameserver 192.0.2.53\n")
    behind = egress.resolver()

    assert alone.forward
    assert alone.text == f"search example.com\noptions edns0\nnameserver {egress.DNS_FORWARD}\n"
    assert behind == egress.Resolver("nameserver 192.0.2.53\n")


@pytest.mark.timeout(300)  # networks are made and ended one after the other, by all who do so on a machine
@pytest.mark.parametrize("kind", ["launched", "prepared"])
@pytest.mark.parametrize("user", [0, 65534])
def test_egress_reaches_the_outside_and_nothing_of_this_machine(
    kind: str, user: int, runtime: PreparedRuntime, place: Path
) -> None:
    """In a network of its own with a neighbour who answers everywhere, also for the metadata service."""
    if os.geteuid() != 0:
        pytest.skip("a network of one's own takes root")
    if why := egress.missing() or (None if shutil.which("ip") else "iproute2 is not installed"):
        pytest.skip(why)

    lab = [sys.executable, str(LAB), kind, str(place), str(place.parent / "runtimes"), str(user)]
    opened_tun = ["/bin/sh", "-c", OPEN_TUN, "sh"] if user else []

    done = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation=private", *opened_tun, *lab],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["notices"] == []
    assert found["outside"] == "OPEN outside"
    assert found["allowed"] == "OPEN own loopback"
    assert found["doors"] == ["127.0.0.1:7002"]
    assert found["devices"] == ["lo", "v0"]
    shut = ("loopback", "own", "second", "metadata", "gateway_loopback")
    assert {name: found[name] for name in shut if found[name].startswith("OPEN")} == {}
    assert all(found[f"{name}_quick"] for name in ("loopback", "own", "second", "metadata"))
