# SPDX-License-Identifier: Apache-2.0
"""Packages as users meet them: checked before they are kept, looked into before a task is saved."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from longshore.domain.archive import Finding, Inspection
from longshore.domain.errors import Invalid
from longshore.domain.ids import Digest
from longshore.domain.runtime import runtime
from longshore.ports.blobs import Blobs, Staged
from longshore.ports.packages import Archives

MAX_PACKAGE_BYTES = 250 * 1024 * 1024
"""As large as a package may be zipped; unpacked it is held to Lambda's 262,144,000 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a look into a package has found; nothing was kept."""

    digest: Digest
    size: int
    inspection: Inspection


@dataclass(frozen=True, slots=True)
class PackageService:
    """Looks into packages."""

    blobs: Blobs
    archives: Archives

    async def check(
        self, stream: AsyncIterator[bytes], *, handler: str | None, runtime: str | None, file_name: str
    ) -> Checked:
        """Inspect a package without keeping it; raises BadPackage when it could not be kept."""
        async with self.staged(stream, file_name=file_name, handler=handler, runtime_name=runtime) as arrived:
            staged, inspection = arrived
            return Checked(digest=staged.digest, size=staged.size, inspection=inspection)

    @asynccontextmanager
    async def staged(
        self,
        stream: AsyncIterator[bytes],
        *,
        file_name: str,
        handler: str | None = None,
        runtime_name: str | None = None,
    ) -> AsyncIterator[tuple[Staged, Inspection]]:
        """A package on disk and inspected, gone afterwards unless it is kept."""
        if not file_name.lower().endswith((".zip", ".jar")):
            raise Invalid(f"{file_name[:80]!r} is not a package's name: it ends in .zip or .jar", field="key")
        async with self.blobs.stage(stream, limit=MAX_PACKAGE_BYTES) as staged:
            yield staged, await self.archives.inspect(staged.path, handler=looked_for(handler, runtime_name))

    async def findings(self, digest: Digest, *, handler: str, runtime_name: str) -> tuple[Finding, ...]:
        """What a static look at a kept package says of a handler."""
        async with self.blobs.stage(self.blobs.read(digest), limit=MAX_PACKAGE_BYTES) as staged:
            inspection = await self.archives.inspect(staged.path, handler=looked_for(handler, runtime_name))
        return tuple(inspection.findings)


def looked_for(handler: str | None, runtime_name: str | None) -> str | None:
    """The handler to look for in the archive: none where the runtime is not Python."""
    if handler is None or runtime_name is None:
        return handler
    return handler if runtime(runtime_name).is_python else None
