# SPDX-License-Identifier: Apache-2.0
"""All attacks of the table, in the sandbox that this machine's server would have."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longshore.adapters.sandbox import Kind, open_sandbox
from longshore.adapters.sandbox.hostile import sealed
from longshore.adapters.sandbox.hostile.attacks import SEALED, Material, Outcome, packaged, tried
from longshore.adapters.sandbox.hostile.program import ATTACKS
from longshore.adapters.sandbox.hostile.victims import victims
from longshore.ports.sandbox import Isolation

SEALED_WITHIN_S = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How good the walls are said to be, and what came of trying them."""

    isolation: Isolation
    outcomes: Sequence[Outcome]


async def trial(kind: Kind, material: Material, real: Sequence[Path]) -> Trial:
    """Some ten seconds. `real` are secrets of this machine to go for beside those made for the occasion.
    Raises Unavailable where there is no sandbox at all."""
    with tempfile.TemporaryDirectory(prefix="longshore-probe-") as directory:
        os.chmod(directory, 0o711)  # noqa: S103  (sandbox users pass through; nobody may list it)
        place = Path(directory)
        with victims(place / "victims", real) as after:
            sandbox = await open_sandbox(kind, place / "sandbox")
            try:
                free = [attack for attack in ATTACKS if attack not in SEALED]
                outcomes = await tried(sandbox, free, material, packaged(place / "package"), after)
            finally:
                await sandbox.close()
        (place / "sealed").mkdir(mode=0o711)
        outcomes += await asyncio.to_thread(_sealed, kind, place / "sealed", material)
        return Trial(isolation=sandbox.isolation, outcomes=outcomes)


def _sealed(kind: Kind, place: Path, material: Material) -> list[Outcome]:
    root = material.runtime_root
    given = sealed.Given(
        kind=kind,
        place=str(place),
        attacks=sorted(SEALED),
        runtime_root=None if root is None else str(root),
        python=material.python,
        runtime_dir=str(material.runtime_dir),
    )
    done = subprocess.run(
        [sys.executable, "-m", sealed.__name__],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=SEALED_WITHIN_S,
        check=False,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        words = f"it could not be tried where nothing is sent to anybody: {why}"
        return [Outcome(attack=attack, is_open=None, words=words) for attack in given["attacks"]]
    return [Outcome(**one) for one in json.loads(done.stdout)]
