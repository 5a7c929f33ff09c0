# SPDX-License-Identifier: Apache-2.0
"""What the hostile programs find where they have to come through, in a network of our own.

usage: unguarded.py PLACE ROOT PYTHON DIRECTORY
answer: {attack: whether it is open}
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longshore.adapters.sandbox import egress, open_sandbox
from longshore.adapters.sandbox.hostile import program
from longshore.adapters.sandbox.hostile.attacks import Material, packaged, tried
from longshore.adapters.sandbox.hostile.sealed import lay_cable, leave_the_network
from longshore.adapters.sandbox.hostile.victims import Victims, victims


def outside(attack: str, after: Victims) -> bool:
    """Without any sandbox."""
    words = [sys.executable, program.__file__]
    event = json.dumps({**after.told(), "attack": attack})
    done = subprocess.run(words, input=event, stdout=subprocess.PIPE, text=True, check=True)
    return bool(json.loads(done.stdout)["open"])


async def past_pasta(place: Path, material: Material, after: Victims) -> dict[str, bool | None]:
    """In cells whose pasta is as it comes, and which know of none of our addresses."""
    real = egress.command

    def as_it_comes(**words: Any) -> Sequence[str]:
        return [word for word in real(**words) if word != "--no-map-gw"]

    egress.command = as_it_comes  # type: ignore[assignment]
    egress.closed = list
    sandbox = await open_sandbox("bubblewrap", place / "sandbox")
    try:
        package = packaged(place / "package")
        outcomes = await tried(sandbox, ["gateway", "addresses"], material, package, after)
        return {one.attack: one.is_open for one in outcomes}
    finally:
        await sandbox.close()


def main(place: Path, root: str, python: str, directory: str) -> None:
    """Print what is open."""
    leave_the_network()
    _cable = lay_cable()
    material = Material(runtime_root=Path(root) if root else None, python=python, runtime_dir=Path(directory))
    with victims(place / "victims", everywhere=True) as after:
        found: dict[str, bool | None] = {name: outside(name, after) for name in ("metadata", "addresses")}
        for name, is_open in asyncio.run(past_pasta(place, material, after)).items():
            found[f"{name} past pasta"] = is_open
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
