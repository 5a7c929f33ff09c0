# SPDX-License-Identifier: Apache-2.0
"""The hostile probes: all shut in the real sandbox, and every one of them able to say that it is not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import LONGSHORE, processes_of
from tests.sandbox.cells import Bench, eventually_none

from longshore.adapters.sandbox import LEVELS, egress
from longshore.adapters.sandbox.hostile import program
from longshore.adapters.sandbox.hostile.attacks import (
    BOUNDS,
    SEALED,
    TAKES_WALLS,
    Material,
    packaged,
    said,
    seen,
    sentence,
    tried,
)
from longshore.adapters.sandbox.hostile.program import ATTACKS
from longshore.adapters.sandbox.hostile.victims import victims
from longshore.interceptor.runtimes import PreparedRuntime

UNGUARDED = Path(__file__).with_name("unguarded.py")
OF_THE_KERNEL = {
    *("user_namespace", "keys", "page_faults", "rings", "vsock", "trace"),
    *("core_pattern", "write_usr"),
}
"""What a kernel, or a container around us, may refuse to everybody, or to all but root."""


def material(runtime: PreparedRuntime) -> Material:
    """What cells of the tests are made of."""
    return Material(runtime_root=runtime.root, python=runtime.python, runtime_dir=runtime.directory)


@pytest.mark.anyio
async def test_every_probe_is_shut_with_control_groups_and_without(walled: Bench) -> None:
    free = [attack for attack in ATTACKS if attack not in SEALED]

    with victims(walled.place / "victims") as after:
        package = packaged(walled.place / "package")
        outcomes = await tried(walled.sandbox, free, material(walled.runtime), package, after)

    assert [one.attack for one in outcomes] == free
    assert [one for one in outcomes if one.is_open is not False] == []


def test_the_doctor_says_that_every_probe_is_shut(place: Path) -> None:
    found, code, said_too = probed(place)

    assert [one["name"] for one in found["probes"]][:3] == ["files", "code", "processes"]
    assert {one["name"] for one in found["probes"]} == set(ATTACKS)
    assert [one for one in found["probes"] if one["result"] != "shut"] == []
    assert all(one["tried"] and one["words"] for one in found["probes"])
    assert (found["shut"], code, said_too) == (True, 0, "")
    assert found["isolation"]["level"] == ("limits" if os.geteuid() else "strict")
    assert found["levels"] == LEVELS
    assert processes_of(str(place)) == []


def test_without_walls_the_doctor_says_what_is_open(place: Path) -> None:
    found, code, _ = probed(place, LONGSHORE_SANDBOX="process")

    results = {one["name"]: one["result"] for one in found["probes"]}
    assert (found["shut"], code, found["isolation"]["level"]) == (False, 1, "process")
    assert {results[name] for name in ("code", "processes", "loopback", "abstract", "addresses")} == {"open"}
    assert {name for name, result in results.items() if result == "untried"} == TAKES_WALLS


def probed(place: Path, **environment: str) -> tuple[dict[str, Any], int, str]:
    """What `longshore doctor --probe` prints, its exit code, and what it says beside."""
    done = subprocess.run(
        [LONGSHORE, "doctor", "--probe", "--json", "--data", str(place / "data")],
        env={**os.environ, "TMPDIR": str(place), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert list(place.glob("longshore-probe-*")) == []
    return json.loads(done.stdout), done.returncode, done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in {*SEALED, "metadata"}])
async def test_outside_of_any_sandbox_a_probe_is_open(place: Path, attack: str) -> None:
    small = {**BOUNDS, "fill": [str(place)], "fill_mb": 2, "forks": 3, "memory_mb": 32}

    with victims(place / "victims") as after, open(place / "inherited", "w") as inherited:
        done = subprocess.run(
            [sys.executable, str(packaged(place / "package") / "app.py")],
            input=json.dumps({**small, **after.told(), "attack": attack}).encode(),
            pass_fds=(inherited.fileno(),),
            stdout=subprocess.PIPE,
            check=True,
        )
        answer = said(done.stdout)
        if answer.is_open is None:
            answer = await seen(attack, after)

    if attack in OF_THE_KERNEL and os.geteuid() and not answer.is_open:
        pytest.skip(f"this machine refuses it to everybody, or to all but root: {answer.words}")
    assert answer.is_open, answer.words
    assert eventually_none(after.marker)


def test_in_a_network_without_guards_the_probes_of_the_network_are_open(
    runtime: PreparedRuntime, place: Path
) -> None:
    if why := egress.missing():
        pytest.skip(why)
    words = [str(runtime.root or ""), runtime.python, str(runtime.directory)]

    done = subprocess.run(
        [sys.executable, str(UNGUARDED), str(place), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "metadata": True,
        "addresses": True,
        "gateway past pasta": True,
        "addresses past pasta": True,
    }


def test_every_probe_has_a_sentence() -> None:
    assert program.handler({"attack": "sys_tree"}).keys() == {"open", "words"}
    assert len({sentence(attack) for attack in ATTACKS}) == len(ATTACKS) == 25
