# SPDX-License-Identifier: Apache-2.0
"""The port `Archives` for zips and jars."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from longshore.adapters.archives import child, unpack
from longshore.domain.archive import DirectorySize, Finding, Inspection, Level, PackageTooLarge
from longshore.domain.errors import BadPackage, Unavailable

TIMEOUT_S = 120.0
"""Wall clock; the child's own limit is a minute of CPU."""
_COMMAND = (sys.executable, "-I", "-S", child.__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipArchives:
    """Inspects in a child process, unpacks in a thread (what is unpacked has been inspected once)."""

    timeout_s: float = TIMEOUT_S

    async def inspect(
        self, path: Path, *, handler: str | None, python: tuple[int, int] | None = None
    ) -> Inspection:
        """See `ports.packages`."""
        return await inspect(path, handler=handler, python=python, timeout_s=self.timeout_s)

    async def unpack(self, path: Path, into: Path, *, compile_with: Sequence[str] | None = None) -> None:
        """See `ports.packages`."""
        await unpack.unpack(path, into, compile_with=compile_with)


async def inspect(
    path: Path,
    *,
    handler: str | None,
    python: tuple[int, int] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Inspection:
    """Check an archive in a child process with 1 GB of memory; a cancelled caller leaves no child behind."""
    request = json.dumps({"path": str(path), "handler": handler, "python": python}).encode()
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(_COMMAND, input=request, check=False, env={})
    except TimeoutError as error:
        raise BadPackage(
            f"the package could not be checked within {timeout_s:g} seconds; make it smaller"
        ) from error
    except OSError as error:
        raise Unavailable(f"the process that checks packages did not start: {error}") from error
    return _answered(done)


def _answered(done: subprocess.CompletedProcess[bytes]) -> Inspection:
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise BadPackage(
            f"the package could not be checked: reading it took too much memory or time"
            f" (exit {done.returncode}{', ' if last else ''}{last[:200]}); zip the files again"
        )
    answer = json.loads(done.stdout)
    if "unreadable" in answer:
        raise Unavailable(f"the package's file cannot be read: {answer['unreadable']}")
    if "refused" in answer:
        refusal = PackageTooLarge if answer["too_large"] else BadPackage
        raise refusal(answer["refused"], entry=answer["entry"])
    return _inspection(answer["inspection"])


def _inspection(said: dict[str, Any]) -> Inspection:
    findings = (Finding(**{**one, "level": Level(one["level"])}) for one in said["findings"])
    return Inspection(
        entries=said["entries"],
        unpacked_bytes=said["unpacked_bytes"],
        findings=tuple(findings),
        python_modules=tuple(said["python_modules"]),
        biggest=tuple(DirectorySize(**one) for one in said["biggest"]),
    )
