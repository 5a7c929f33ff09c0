# SPDX-License-Identifier: Apache-2.0
"""Packages as users meet them: checked before they are kept, looked into before a task is saved."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from longshore.domain.archive import Finding, Inspection, Level
from longshore.domain.errors import Invalid
from longshore.domain.fleet import ALIVE
from longshore.domain.ids import Digest
from longshore.domain.runtime import runs_on, runtime
from longshore.domain.task import Task
from longshore.ports.blobs import Blobs, Staged
from longshore.ports.clock import Clock
from longshore.ports.packages import Archives
from longshore.ports.store import Store

MAX_PACKAGE_BYTES = 250 * 1024 * 1024
"""As large as a package may be zipped; unpacked it is held to Lambda's 262,144,000 bytes."""
MAX_LOOKS = 5
"""Into an uploaded package: each reads all of it, and most packages have one task."""
_WHATEVER_THE_TASK = frozenset({"case", "size"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a look into a package has found; nothing was kept."""

    digest: Digest
    size: int
    inspection: Inspection


@dataclass(frozen=True, slots=True)
class _Look:
    """What a package is looked at for."""

    handler: str
    python: tuple[int, int]
    has_own_path: bool


@dataclass(frozen=True, slots=True)
class PackageService:
    """Looks into packages, and never keeps or refuses one for what a handler will not find in it."""

    blobs: Blobs
    archives: Archives
    store: Store
    clock: Clock

    async def check(
        self, stream: AsyncIterator[bytes], *, handler: str | None, runtime: str | None, file_name: str
    ) -> Checked:
        """Inspect a package without keeping it; raises BadPackage when it could not be kept."""
        python = None if runtime is None else await self.python_for(runtime)
        async with self._arrived(stream, file_name=file_name) as staged:
            found = await self.archives.inspect(
                staged.path, handler=looked_for(handler, runtime), python=python
            )
            return Checked(digest=staged.digest, size=staged.size, inspection=found)

    @asynccontextmanager
    async def staged(
        self, stream: AsyncIterator[bytes], *, file_name: str, tasks: Sequence[Task] = ()
    ) -> AsyncIterator[tuple[Staged, tuple[Finding, ...]]]:
        """A package on disk, inspected for these tasks, gone afterwards unless it is kept."""
        async with self._arrived(stream, file_name=file_name) as staged:
            yield staged, await self._looked(staged.path, tasks)

    async def findings(self, task: Task) -> tuple[Finding, ...]:
        """What a static look at a task's package says of its handler on its runtime."""
        async with self.blobs.stage(self.blobs.read(task.package), limit=MAX_PACKAGE_BYTES) as staged:
            return await self._findings(staged.path, await self._look(task))

    async def python_for(self, runtime_name: str, location: str | None = None) -> tuple[int, int]:
        """The Python version that will really run it, with those that live now; see `domain.runtime`."""
        since = self.clock.now() - ALIVE
        alive = await self.store.read(lambda work: work.fleet.all(since))
        here = [one for one in alive if location in (None, one.location)]
        return runs_on(runtime(runtime_name), {name for one in here for name in one.runtimes})

    @asynccontextmanager
    async def _arrived(self, stream: AsyncIterator[bytes], *, file_name: str) -> AsyncIterator[Staged]:
        if not file_name.lower().endswith((".zip", ".jar")):
            raise Invalid(f"{file_name[:80]!r} is not a package's name: it ends in .zip or .jar", field="key")
        async with self.blobs.stage(stream, limit=MAX_PACKAGE_BYTES) as staged:
            yield staged

    async def _looked(self, path: Path, tasks: Sequence[Task]) -> tuple[Finding, ...]:
        """The findings of every task; each but those that hold for all says which tasks it is about."""
        looks: dict[_Look, list[str]] = defaultdict(list)
        for task in tasks:
            looks[await self._look(task)].append(task.name)
        if not looks:
            return (await self.archives.inspect(path, handler=None)).findings
        found: dict[Finding, None] = {}
        for look, names in list(looks.items())[:MAX_LOOKS]:
            for finding in await self._findings(path, look):
                found[_about(finding, names)] = None
        unseen = [name for names in list(looks.values())[MAX_LOOKS:] for name in names]
        return errors_first([*found, *_not_looked(unseen)])

    async def _look(self, task: Task) -> _Look:
        python = await self.python_for(task.runtime, task.location)
        return _Look(task.handler, python, "PYTHONPATH" in task.environment)

    async def _findings(self, path: Path, look: _Look) -> tuple[Finding, ...]:
        """What imports lack is not sure where the task's own environment says where else to look."""
        found = (await self.archives.inspect(path, handler=look.handler, python=look.python)).findings
        if not look.has_own_path:
            return found
        return errors_first(
            replace(one, level=Level.WARNING) if one.code == "import" else one for one in found
        )


def looked_for(handler: str | None, runtime_name: str | None) -> str | None:
    """The handler to look for in the archive: none where the runtime is not Python."""
    if handler is None or runtime_name is None:
        return handler
    return handler if runtime(runtime_name).is_python else None


def errors_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same, with what cannot work before what may."""
    return tuple(sorted(findings, key=lambda one: one.level is not Level.ERROR))


def _about(finding: Finding, names: Sequence[str]) -> Finding:
    if finding.code in _WHATEVER_THE_TASK:
        return finding
    whose = f"the task {names[0]}" if len(names) == 1 else f"the tasks {', '.join(names)}"
    return replace(finding, message=f"for {whose}: {finding.message}")


def _not_looked(names: Sequence[str]) -> list[Finding]:
    if not names:
        return []
    message = f"the package was not looked into for {', '.join(names)}; save such a task to see its findings"
    return [Finding(level=Level.WARNING, code="unchecked", message=message)]
