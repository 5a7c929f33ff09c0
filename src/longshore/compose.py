# SPDX-License-Identifier: Apache-2.0
"""Puts the parts together: the only file that names adapters.

<data>/state/       database, master key, logs, blobs: 0700, nobody's but ours
<data>/runtimes/    interpreters and clients that are mounted into sandboxes
<data>/cache/       unpacked packages and inputs that are mounted into sandboxes
"""

import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from longshore import __version__
from longshore.adapters.archives.zips import ZipArchives
from longshore.adapters.blobs_disk import DiskBlobs
from longshore.adapters.broker_memory import MemoryBroker
from longshore.adapters.clock import SystemClock
from longshore.adapters.logbook import FileLogbook
from longshore.adapters.notifier_memory import MemoryNotifier
from longshore.adapters.sandbox import LEVELS, open_sandbox
from longshore.adapters.sandbox.hostile.attacks import Material, sentence
from longshore.adapters.sandbox.hostile.trial import trial
from longshore.adapters.sandbox.probe import Probe, probe
from longshore.adapters.sql import Ballast, SqliteStore
from longshore.adapters.vault import MasterKeyVault
from longshore.domain.errors import Unavailable
from longshore.domain.fleet import Interceptor, Slots
from longshore.domain.ids import InterceptorId, new_id
from longshore.domain.order import Room
from longshore.interceptor.agent import Agent
from longshore.interceptor.execute import Executor
from longshore.interceptor.packages import PackageCache
from longshore.interceptor.pool import Pool
from longshore.interceptor.pythons import own
from longshore.interceptor.runtimes import look, prepare
from longshore.interceptor.slots import machine_cores, machine_memory_mb
from longshore.interceptor.warm import Environments
from longshore.ports.packages import Archives
from longshore.ports.store import Store
from longshore.services.access import AccessService
from longshore.services.buckets import BucketService
from longshore.services.dispatch import Dispatch
from longshore.services.express import Express
from longshore.services.fleet import FleetService
from longshore.services.packages import PackageService
from longshore.services.remembered import Remembered
from longshore.services.runs import RunService
from longshore.services.secrets import SecretService
from longshore.services.sweeper import Sweeper
from longshore.services.tasks import TaskService
from longshore.settings import Settings

DEFAULT_PROJECT = "default"
ISOLATION_LEVELS = LEVELS
EARLIEST_YEAR = 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything that a server has; http/context.py says which part of it the web layer sees."""

    access: AccessService
    packages: PackageService
    buckets: BucketService
    tasks: TaskService
    secrets: SecretService
    runs: RunService
    fleet: FleetService
    dispatch: Dispatch
    sweeper: Sweeper
    agent: Agent
    version: str
    base_url: str


@contextlib.asynccontextmanager
async def open_house(settings: Settings, *, base_url: str) -> AsyncIterator[House]:
    """One process with everything embedded, ready to be started; closed at the end."""
    data = settings.data
    state = _prepared(data)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        store = SqliteStore(state / "longshore.db", ballast=Ballast(state / "ballast"))
        stack.push_async_callback(store.close)
        vault = await _vault(settings, state, store)
        secrets = SecretService(store, vault, clock)
        await secrets.check_key()
        blobs = DiskBlobs(state / "blobs")
        logbook = FileLogbook(state / "logs")
        broker, notifier, archives = MemoryBroker(), MemoryNotifier(), ZipArchives()
        packages = PackageService(blobs, archives, store, clock)
        remembered, express = Remembered(store), Express(store, logbook, broker, notifier, clock)
        dispatch = Dispatch(store, broker, blobs, vault, logbook, notifier, clock, express, remembered)
        sandbox = await open_sandbox(settings.sandbox, data / "cache" / "sandbox")
        stack.push_async_callback(sandbox.close)
        runtimes = await prepare(settings.runtimes_home)
        cache = PackageCache(data / "cache", archives, (sys.executable,))
        room = Room(
            cpus=settings.cpu_cores or machine_cores(), memory_mb=settings.memory_mb or machine_memory_mb()
        )
        pool = Pool(sandbox)
        warm = Environments(room.memory_mb, pool)
        executor = Executor(dispatch, pool, warm, runtimes, cache, clock, base_url)
        stack.push_async_callback(executor.close)
        me = Interceptor(
            id=InterceptorId(new_id(clock.now())),
            name=socket.gethostname(),
            location=settings.location,
            cpu_cores=room.cpus,
            memory_mb=room.memory_mb,
            runtimes=runtimes.ids,
            isolation=sandbox.isolation.level,
            version=__version__,
            seen_at=clock.now(),
        )
        access = AccessService(store, clock, remembered, express)
        await access.ensure_project(DEFAULT_PROJECT)
        yield House(
            access=access,
            packages=packages,
            buckets=BucketService(store, blobs, packages, clock),
            tasks=TaskService(store, packages, clock),
            secrets=secrets,
            runs=RunService(store, broker, blobs, logbook, notifier, clock, express, remembered),
            fleet=FleetService(store, clock),
            dispatch=dispatch,
            sweeper=Sweeper(store, broker, dispatch, clock),
            agent=Agent(me, dispatch, executor, Slots(total=room)),
            version=__version__,
            base_url=base_url,
        )


@contextlib.asynccontextmanager
async def open_access(data: Path) -> AsyncIterator[AccessService]:
    """Access to a data directory by somebody who has it in hand, also while its server runs."""
    store = SqliteStore(_prepared(data) / "longshore.db")
    try:
        yield AccessService(store, SystemClock(), Remembered(store))
    finally:
        await store.close()


def open_archives() -> Archives:
    """A reader of packages, for looks that need no server."""
    return ZipArchives()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRuntime:
    """A runtime of this machine. `prepared`: a first run of it starts at once."""

    id: str
    version: str
    path: Path
    prepared: bool


async def find_runtimes(settings: Settings) -> Sequence[FoundRuntime]:
    """The runtimes of this machine, oldest first."""
    runtimes = await look(settings.runtimes_home)
    return [
        FoundRuntime(
            id=python.id,
            version=".".join(map(str, python.version)),
            path=python.executable,
            prepared=runtimes.is_prepared(python.id),
        )
        for python in runtimes.pythons.values()
    ]


async def prepare_runtime(settings: Settings, id_: str) -> None:
    """Make a runtime ready before its first run asks for it; raises Unavailable saying why it cannot be."""
    _prepared(settings.data)
    await (await look(settings.runtimes_home)).prepared(id_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence of the doctor. `ok` is None where it is neither good nor bad."""

    name: str
    ok: bool | None
    words: str


async def examine(settings: Settings) -> Sequence[Finding]:
    """What this machine can do, and what it takes to make it do more."""
    found = [_of_probe(one) for one in await probe()]
    data = settings.data
    place = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(place).free
    enough = free > 2 * 2**30
    found.append(Finding(name="disk", ok=enough, words=f"{free // 2**30} GB free at {place}"))
    found.append(_of_clock(SystemClock().now()))
    runtimes = await find_runtimes(settings)
    words = ", ".join(f"{one.id}{'' if one.prepared else ' (fetched at its first run)'}" for one in runtimes)
    found.append(Finding(name="runtimes", ok=True, words=words))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What came of a hostile program. `is_open` is None where it could not be tried."""

    name: str
    is_open: bool | None
    tried: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What hostile programs met on this machine, and the level of isolation that they tried."""

    level: str
    lacking: Sequence[str]
    probes: Sequence[Probed]


async def probe_walls(settings: Settings) -> Walls:
    """Let hostile programs loose in the sandbox that this machine's server would have; some ten seconds.
    Raises Unavailable where there is none."""
    state = _prepared(settings.data)
    runtime = await (await look(settings.runtimes_home)).prepared(own().id)
    made_of = Material(
        runtime_root=runtime.root, python=runtime.python, runtime_dir=runtime.directory.resolve()
    )
    found = await trial(settings.sandbox, made_of, (state / "master.key", Path("/etc/shadow")))
    probes = [
        Probed(name=one.attack, is_open=one.is_open, tried=sentence(one.attack), words=one.words)
        for one in found.outcomes
    ]
    return Walls(level=found.isolation.level, lacking=found.isolation.words, probes=probes)


def _of_clock(now: datetime) -> Finding:
    """A clock before this release cannot be right: tokens and links that expire would go wrong with it."""
    right = now.year >= EARLIEST_YEAR
    words = f"it says {now:%Y-%m-%d %H:%M:%S} UTC"
    return Finding(name="clock", ok=right, words=words if right else f"{words}; set it, for example by NTP")


def _of_probe(one: Probe) -> Finding:
    return Finding(name=one.name, ok=one.ok, words=one.words)


def _prepared(data: Path) -> Path:
    """The data directory's state, made if need be."""
    data.mkdir(parents=True, exist_ok=True, mode=0o711)
    for name, mode in (("state", 0o700), ("runtimes", 0o755), ("cache", 0o711)):
        (data / name).mkdir(exist_ok=True, mode=mode)
    return data / "state"


async def _vault(settings: Settings, state: Path, store: Store) -> MasterKeyVault:
    """A key that is lost is not silently replaced: the secrets under it would be lost with it."""
    if settings.master_key:
        return MasterKeyVault.from_text(settings.master_key.get_secret_value())
    key = state / "master.key"
    if not key.exists() and await store.read(lambda work: work.secrets.any_one() is not None):
        raise Unavailable(
            f"the master key {key} is missing, and there are secrets sealed with it: restore the file, or"
            " give the key in LONGSHORE_MASTER_KEY"
        )
    return MasterKeyVault.from_file(key)
