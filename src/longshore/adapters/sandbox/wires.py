# SPDX-License-Identifier: Apache-2.0
"""A cell's connections: a way out by pasta, and doors inside that we answer.

cell 127.0.0.1:1025, 127.0.9.1:443 ...   listening sockets, passed out: whoever has them connects on
cell eth0 ─ pasta ─ the host's network   with mode egress
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longshore.adapters.sandbox import egress, kin, slots
from longshore.adapters.sandbox.cgroups import Group, Quota, joining
from longshore.adapters.sandbox.child import Child
from longshore.adapters.sandbox.egress import Outlook
from longshore.adapters.sandbox.slots import Slot
from longshore.domain.errors import Unavailable
from longshore.domain.network import Address, Network, NetworkMode

PROGRAM = Path(__file__).with_name("netns.py")
_RUN = "import sys; sys.path.insert(0, sys.argv[1]); import netns; sys.exit(netns.main(sys.argv[2:]))"
NS_GET_USERNS = 0xB701
WAY_OUT_WITHIN_S = 20.0
SEALED_WITHIN_S = 1.0
SETTLED_WITHIN_S = 10.0
RESOLVE_WITHIN_S = 2.0
CARRIER_MB, CARRIER_PIDS = 256, 8
NAMED_NETWORK = "127.0.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What is to be connected. `listen` maps an address inside to the pair that it stands for, `own` are
    addresses that the loopback inside must answer to, `names` go into the cell's /etc/hosts. `outlook` is how
    the machine was when this was planned, None where it does not matter."""

    egress: bool = False
    outlook: Outlook | None = None
    listen: Mapping[tuple[str, int], Address] = field(default_factory=dict)
    own: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def hosts(self) -> str:
        """Lines of /etc/hosts."""
        return "".join(f"{ip} {name}\n" for name, ip in self.names.items())


@dataclass(slots=True, kw_only=True)
class Wires:
    """What has been connected. `doors` are listening sockets inside, by the pairs that they stand for;
    `beside_mb` is the memory that pasta takes; `trouble` is what pasta, or we, have to say about its
    failing, `is_lasting` that it will fail again."""

    doors: Mapping[Address, socket.socket] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    pasta: Child | None = None
    beside_mb: float = 0.0
    trouble: str | None = None
    is_lasting: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the way out is still open, if there was to be one."""
        return self.pasta is None or not (self.trouble or self.pasta.ended.done())

    def cut(self) -> None:
        """Disconnect it all. May be called again. pasta takes some 40 ms to end, which nobody needs to wait
        for but whoever is after its user."""
        for door in self.doors.values():
            door.close()
        if self.pasta is not None:
            self.pasta.kill()

    async def gone(self) -> None:
        """Wait until nothing is left of it."""
        if self.pasta is not None:
            await asyncio.shield(self.pasta.ended)


async def planned(network: Network, outlook: Outlook) -> Wiring:
    """What a cell with this network needs, as the machine is now. What the outside offers anyway needs no
    door."""
    if network.mode is NetworkMode.HOST:
        return Wiring()
    wants_egress = network.mode is NetworkMode.EGRESS
    has_egress = wants_egress and outlook.why_not is None
    wanted = [pair for pair in network.allow if not has_egress or await _needs_door(pair)]
    named = dict.fromkeys(pair.host for pair in wanted if pair.ip is None)
    names = {host: f"{NAMED_NETWORK}.{number}" for number, host in enumerate(named, 1)}
    listen: dict[tuple[str, int], Address] = {}
    for pair in wanted:
        listen.setdefault((names.get(pair.host, str(pair.ip)), pair.port), pair)
    return Wiring(
        egress=has_egress,
        outlook=outlook if wants_egress else None,
        listen=listen,
        own=[str(ip) for ip in dict.fromkeys(pair.ip for pair in wanted) if ip and not ip.is_loopback],
        names=names,
        notices=(no_way_out(outlook.why_not),) if wants_egress and outlook.why_not else (),
    )


def no_way_out(why: str) -> str:
    """The sentence for a run that asked for the outside and does not get it."""
    return f"this run has no outbound network: {why}"


async def _needs_door(pair: Address) -> bool:
    """Whether egress leaves it closed. A name that nobody knows here is ours to explain, so it has a door."""
    if pair.ip is not None:
        return egress.is_closed(pair.ip)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_WITHIN_S):
            found = await loop.getaddrinfo(pair.host, pair.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return True
    return any(egress.is_closed(ipaddress.ip_address(str(one[4][0]).partition("%")[0])) for one in found)


def quota(cpus: float) -> Quota:
    """What may be taken by who carries a cell's connections: at most as much processor time again as the
    cell's own processes. It is one process with one thread."""
    return Quota(cpus=min(cpus, 1.0), memory=CARRIER_MB * 2**20, pids=CARRIER_PIDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What it takes to lay a cell's wires: who owns them, the group that carries them, and the mark by which
    they are found if we do not live to end them."""

    wiring: Wiring
    slot: Slot | None
    setpriv: str
    group: Group
    mark: str

    async def connect(self, pid: int | None) -> Wires:
        """Connect the cell whose first process is `pid`. No way out is a notice, no door is Unavailable: with
        one missing a handler would do something else than what was asked."""
        if not self.wiring.egress and not self.wiring.listen:
            return Wires(notices=self.wiring.notices)
        if pid is None:
            raise Unavailable("the sandbox ended before it had a network")
        await _settled(pid)
        with _namespaces(pid) as (net, user):
            wires = Wires(notices=self.wiring.notices)
            try:
                await _connect(wires, self, _Inside(net, user))
            except BaseException:
                wires.cut()
                await wires.gone()
                raise
            return wires


@dataclass(frozen=True, slots=True)
class _Inside:
    """The way into a cell's network: descriptors of its namespaces."""

    net: int
    user: int

    @property
    def namespaces(self) -> tuple[int, int]:
        """What children inherit."""
        return (self.net, self.user)

    def entering(self, words: Sequence[str]) -> list[str]:
        """Our program, in there. As root it keeps our own user namespace, whose capabilities reach below, and
        may be taken there by another one, which is quicker about it. It is imported, not run as a script: so
        it is compiled once and not for every cell."""
        python = [sys.executable, "-I", "-S", "-c", _RUN, str(PROGRAM.parent)]
        nsenter = shutil.which("nsenter") if slots.needs_slot() else None
        if nsenter is not None:
            return [nsenter, f"--net=/proc/self/fd/{self.net}", "--", *python, *words]
        where = [self.net] if slots.needs_slot() else [self.user, self.net]
        return [*python, *(f"enter={number}" for number in where), *words]


async def _connect(wires: Wires, layer: Layer, inside: _Inside) -> None:
    """Both programs at once: nothing of the handler runs before they are done."""
    wiring = layer.wiring
    mine, theirs = socket.socketpair()
    with mine, theirs, _Said() as said, _Said() as pastas:
        worker = Child(
            inside.entering([*_words(wiring), f"control={theirs.fileno()}"]),
            stdout=said.writing,
            stderr=said.writing,
            pass_fds=(*inside.namespaces, theirs.fileno()),
        )
        theirs.close()
        try:
            if wiring.egress:
                wires.pasta = _pasta(layer, inside, pastas)
            wires.doors = await _doors(mine, wiring, said)
            if wires.pasta is not None:
                await asyncio.wait({worker.ended, wires.pasta.ended}, return_when=asyncio.FIRST_COMPLETED)
                await _sealed(wires.pasta)
                wires.beside_mb = kin.memory([wires.pasta.pid]).anonymous / 2**20
                if wires.pasta.ended.done():
                    _fail(wires, f"pasta does not work here ({pastas.text() or 'it said nothing'})")
                    wires.is_lasting = True
                elif worker.ended.result().code:
                    _fail(wires, f"pasta was not ready within {WAY_OUT_WITHIN_S:g} s ({said.text()})")
        finally:
            worker.kill()
            await worker.ended


def _fail(wires: Wires, why: str) -> None:
    wires.trouble = why
    wires.notices = (*wires.notices, no_way_out(why))
    if wires.pasta is not None:
        wires.pasta.kill()


def _pasta(layer: Layer, inside: _Inside, said: "_Said") -> Child:
    outlook = layer.wiring.outlook
    pasta = egress.command(
        slot=layer.slot,
        setpriv=layer.setpriv,
        user=inside.user,
        net=inside.net,
        forward=outlook is not None and outlook.resolver.forward,
        mark=layer.mark,
    )
    command = joining(layer.group, pasta)
    return Child(command, stdout=said.writing, stderr=said.writing, pass_fds=inside.namespaces)


async def _sealed(pasta: Child) -> None:
    """Wait until pasta has locked itself in, its last step: only then does it meet what a handler sends."""
    until = time.monotonic() + SEALED_WITHIN_S
    while time.monotonic() < until and not pasta.ended.done():
        if b"\nSeccomp:\t2" in _status(pasta.pid):
            return
        await asyncio.sleep(0.001)


def _status(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/status").read_bytes()
    return b""


def _words(wiring: Wiring) -> list[str]:
    closed = wiring.outlook.closed if wiring.outlook is not None and wiring.egress else ()
    words = [f"unreachable={network}" for network in closed]
    words += [f"address={ip}" for ip in wiring.own]
    words += [f"listen={ip} {port}" for ip, port in wiring.listen]
    return [*words, *([f"wait={WAY_OUT_WITHIN_S:g}"] if wiring.egress else [])]


async def _doors(mine: socket.socket, wiring: Wiring, said: "_Said") -> Mapping[Address, socket.socket]:
    """The listening sockets, in the order of their addresses."""
    mine.setblocking(False)
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(mine.fileno(), arrived.set)
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await arrived.wait()
        word, numbers, _, _ = socket.recv_fds(mine, 64, len(wiring.listen))
    except (OSError, TimeoutError):
        word, numbers = b"", []
    finally:
        loop.remove_reader(mine.fileno())
    if word != b"doors" or len(numbers) != len(wiring.listen):
        for number in numbers:
            os.close(number)
        raise Unavailable(f"the sandbox's network could not be laid: {said.text() or 'no answer came'}")
    return {
        pair: socket.socket(fileno=number)
        for pair, number in zip(wiring.listen.values(), numbers, strict=True)
    }


async def _settled(pid: int) -> None:
    """Wait until the cell has its loopback up and its users mapped: whoever comes earlier is in its way."""
    until = time.monotonic() + SETTLED_WITHIN_S
    while not _is_settled(pid):
        if time.monotonic() > until:
            raise Unavailable("the sandbox's network did not come up")
        await asyncio.sleep(0.001)


def _is_settled(pid: int) -> bool:
    place = Path(f"/proc/{pid}")
    try:
        is_mapped = bool((place / "uid_map").read_bytes().strip())
        return is_mapped and b"127.0.0.1" in (place / "net" / "fib_trie").read_bytes()
    except OSError as error:
        raise Unavailable("the sandbox ended before it had a network") from error


@contextlib.contextmanager
def _namespaces(pid: int) -> Iterator[tuple[int, int]]:
    """The cell's network namespace, and the user namespace that owns it."""
    with contextlib.ExitStack() as stack:
        try:
            net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, net)
            if os.path.sameopenfile(net, stack.enter_context(open("/proc/self/ns/net", "rb")).fileno()):
                raise Unavailable("the sandbox's network is this machine's own")
            user = fcntl.ioctl(net, NS_GET_USERNS)
            stack.callback(os.close, user)
        except OSError as error:
            raise Unavailable(f"the sandbox's network cannot be reached: {error}") from error
        yield net, user


class _Said:
    """What a child says, as far as it fits into a pipe that nobody reads meanwhile."""

    def __enter__(self) -> "_Said":
        return self

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)
        os.close(self.writing)

    def text(self) -> str:
        """All of it, on one line, without what pasta has to say about a missing syslog."""
        with contextlib.suppress(BlockingIOError):
            lines = os.read(self._reading, 65536).decode("utf-8", "replace").splitlines()
            return " ".join(line.strip() for line in lines if line.strip() and "to syslog" not in line)[-500:]
        return ""
