# SPDX-License-Identifier: Apache-2.0
"""A whole control plane over one directory, and an interceptor that does what a test tells it."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longshore.adapters.archives.zips import ZipArchives
from longshore.adapters.blobs_disk import DiskBlobs
from longshore.adapters.broker_memory import MemoryBroker
from longshore.adapters.clock import SystemClock
from longshore.adapters.logbook import FileLogbook
from longshore.adapters.notifier_memory import MemoryNotifier
from longshore.adapters.sql import SqliteStore
from longshore.adapters.vault import MasterKeyVault
from longshore.domain.fleet import Interceptor
from longshore.domain.ids import InterceptorId
from longshore.domain.logs import LogLine, Stream
from longshore.domain.order import Lease, Phase, Room
from longshore.domain.project import Project, Role
from longshore.domain.run import RunResult, RunState
from longshore.services.access import AccessService
from longshore.services.buckets import BucketService
from longshore.services.dispatch import Dispatch
from longshore.services.express import Express
from longshore.services.fleet import FleetService
from longshore.services.packages import PackageService
from longshore.services.remembered import Remembered
from longshore.services.runs import RunService
from longshore.services.secrets import SecretService
from longshore.services.tasks import TaskService

BASE = "http://longshore.test"
HANDLER = b"def handler(event, context):\n    return event\n"
ROOM = Room(cpus=4, memory_mb=8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """As compose makes it, without agent and sandbox."""

    store: SqliteStore
    access: AccessService
    packages: PackageService
    buckets: BucketService
    tasks: TaskService
    secrets: SecretService
    runs: RunService
    fleet: FleetService
    dispatch: Dispatch
    version: str = "0.0.test"
    base_url: str = BASE

    async def token(self, role: Role, project: Project | None) -> str:
        """The value of a new token."""
        _, value = await self.access.create_token(role, role, project, by=None)
        return value


def open_house(data: Path) -> House:
    """All services over the real adapters."""
    store, clock = SqliteStore(data / "longshore.db"), SystemClock()
    vault, blobs = MasterKeyVault.from_file(data / "master.key"), DiskBlobs(data / "blobs")
    logbook, broker, notifier = FileLogbook(data / "logs"), MemoryBroker(), MemoryNotifier()
    packages = PackageService(blobs, ZipArchives(), store, clock)
    remembered, express = Remembered(store), Express(store, logbook, broker, notifier, clock)
    return House(
        store=store,
        access=AccessService(store, clock, remembered, express),
        packages=packages,
        buckets=BucketService(store, blobs, packages, clock),
        tasks=TaskService(store, packages, clock),
        secrets=SecretService(store, vault, clock),
        runs=RunService(store, broker, blobs, logbook, notifier, clock, express, remembered),
        fleet=FleetService(store, clock),
        dispatch=Dispatch(store, broker, blobs, vault, logbook, notifier, clock, express, remembered),
    )


def a_zip(files: Mapping[str, bytes] | None = None) -> bytes:
    """A package."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (files or {"app.py": HANDLER}).items():
            archive.writestr(name, content)
    return out.getvalue()


class Hand:
    """An interceptor by hand."""

    def __init__(self, house: House) -> None:
        self.dispatch = house.dispatch
        self.me = Interceptor(
            id=InterceptorId("00000000-0000-7000-8000-000000000001"),
            name="by-hand",
            location="default",
            cpu_cores=ROOM.cpus,
            memory_mb=ROOM.memory_mb,
            runtimes=("python3.11",),
            isolation="none",
            version="0.0.test",
            seen_at=SystemClock().now(),
        )

    async def take(self) -> Lease:
        """Claim the oldest queued run and start it."""
        await self.dispatch.register(self.me)
        lease = await self.dispatch.claim(self.me, ROOM)
        assert lease is not None
        await self.dispatch.extend(lease, Phase.USER_CODE)
        return lease

    async def say(self, lease: Lease, texts: Sequence[str]) -> None:
        """Log lines to its standard output."""
        first = await self.dispatch.next_seq(lease)
        lines = [
            LogLine(
                run=lease.run,
                attempt=lease.attempt,
                seq=first + i,
                at=SystemClock().now().replace(microsecond=123_456),
                stream=Stream.STDOUT,
                level=None,
                text=text,
            )
            for i, text in enumerate(texts)
        ]
        await self.dispatch.log(lease, lines)

    async def end(self, lease: Lease, payload: str | None = "{}", **more: object) -> None:
        """Finish a run that went well, unless told otherwise."""
        result = RunResult(state=RunState.SUCCEEDED, payload=payload)
        await self.dispatch.finish(lease, replace(result, **more))  # type: ignore[arg-type]
