# SPDX-License-Identifier: Apache-2.0
"""The programs that go into cells, compiled for each Python that runs them: that takes a tenth of a cold run.

A Python compiles them itself, in the background, when it is first used; until then it reads their source.
"""

import asyncio
import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from longshore.adapters.sandbox.rooms import BOOTSTRAP, LANG
from longshore.ports.sandbox import CellSpec

NAMES = ("launcher", "python")
COMPILE_WITHIN_S = 60.0
_COMPILE = """
import py_compile, sys
inside, ending, *names = sys.argv[1:]
for name in names:
    py_compile.compile(f"{name}.py", f"{name}{ending}", f"{inside}/{name}.py", doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """Those below a directory that is mounted into every cell."""

    at: Path
    _tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _ready: set[str] = field(default_factory=set)

    def launcher(self, spec: CellSpec) -> str:
        """The launcher's path inside a cell."""
        ending = self._ending(spec)
        if ending not in self._tasks:
            self._tasks[ending] = asyncio.create_task(self._compile(spec, ending))
        return f"{BOOTSTRAP}/launcher{ending if ending in self._ready else '.py'}"

    async def close(self) -> None:
        """Let what is under way come to its end."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ending(self, spec: CellSpec) -> str:
        which = hashlib.sha256(f"{spec.runtime_root} {spec.python}".encode()).hexdigest()[:12]
        return f".{which}.pyc"

    async def _compile(self, spec: CellSpec, ending: str) -> None:
        root = spec.runtime_root
        python = Path(spec.python) if root is None else root / PurePosixPath(spec.python).relative_to(LANG)
        command = [str(python), "-I", "-c", _COMPILE, BOOTSTRAP, ending, *NAMES]
        environment = {} if root is None else {"LD_LIBRARY_PATH": str(root / "lib")}
        try:
            await asyncio.to_thread(_run, command, environment, self.at)
            for name in NAMES:
                os.chmod(self.at / f"{name}{ending}", 0o644)
        except (OSError, subprocess.SubprocessError):
            return  # what is wrong with this Python shows when a cell starts it
        self._ready.add(ending)


def _run(command: list[str], environment: dict[str, str], at: Path) -> None:
    subprocess.run(
        command,
        env=environment,
        cwd=at,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMPILE_WITHIN_S,
        check=True,
    )
