# SPDX-License-Identifier: Apache-2.0
"""What hostile programs try, each in a real cell of its own, and whether it came off."""

import asyncio
import contextlib
import inspect
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshore.adapters.sandbox import kin
from longshore.adapters.sandbox.cgroups import kill_all
from longshore.adapters.sandbox.hostile import program
from longshore.adapters.sandbox.hostile.victims import Victims
from longshore.domain.errors import LongshoreError
from longshore.domain.network import Network
from longshore.ports.sandbox import Cell, CellSpec, Exit, Sandbox
from longshore.runtime_api.server import Call, InitFailed, Response, RuntimeApi

WITHIN_S = 60.0
HEARD_WITHIN_S = 0.3
BOUNDS = {"fill": ["/tmp", "/output", "/dev/shm"], "fill_mb": 160, "forks": 600, "memory_mb": 1024}  # noqa: S108
"""How far a program goes where nothing stops it: well beyond the limits of its cell."""
SEALED = frozenset({"addresses", "gateway"})
"""What might send something to somebody, if it came off: tried in a network that ends with us."""
TAKES_WALLS = frozenset({"fill", "fork_bomb", "memory"})
"""What must not be let loose where nothing stops it."""
ENVIRONMENT = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "HOME": "/tmp",  # noqa: S108
    "INPUT_DIR": "/var/input",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LD_LIBRARY_PATH": "/var/lang/lib",
    "OUTPUT_DIR": "/output",
    "PATH": "/var/lang/bin:/usr/bin:/bin",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_open`: it came off; None where it was not tried, or nobody can say."""

    is_open: bool | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to an attack."""

    attack: str
    is_open: bool | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What cells are made of: a prepared runtime, as in CellSpec."""

    runtime_root: Path | None
    python: str
    runtime_dir: Path


def sentence(attack: str) -> str:
    """What is tried."""
    return (inspect.getdoc(program.ATTACKS[attack]) or attack).rstrip(".")


def packaged(at: Path) -> Path:
    """A task's package with the program in it."""
    at.mkdir(mode=0o755)
    at.chmod(0o755)
    shutil.copyfile(Path(program.__file__), at / "app.py")
    (at / "app.py").chmod(0o644)
    return at


async def tried(
    sandbox: Sandbox, attacks: Sequence[str], material: Material, package: Path, victims: Victims
) -> list[Outcome]:
    """One after the other, each by a task that has the usual network."""
    spec = CellSpec(
        runtime_root=material.runtime_root,
        python=material.python,
        runtime_dir=material.runtime_dir,
        package_dir=package,
        cpus=1,
        memory_mb=128,
        disk_mb=16,
        pids=48,
        network=Network(),
    )
    has_walls = sandbox.isolation.level != "process"
    found = []
    for attack in attacks:
        if attack in TAKES_WALLS and not has_walls:
            answer = Answer(None, "not let loose where there are no walls")
        else:
            answer = await _tried(sandbox, attack, spec, victims)
        found.append(Outcome(attack=attack, is_open=answer.is_open, words=answer.words))
    return found


async def _tried(sandbox: Sandbox, attack: str, spec: CellSpec, victims: Victims) -> Answer:
    event = {**BOUNDS, **victims.told(), "attack": attack}
    try:
        cell = await sandbox.launch(spec)
        try:
            answer = await _answer(cell, spec, json.dumps(event).encode())
        finally:
            await cell.kill()
    except (LongshoreError, TimeoutError) as error:
        return Answer(None, f"it could not be tried: {error}")
    return await seen(attack, victims) if answer.is_open is None and not answer.words else answer


async def _answer(cell: Cell, spec: CellSpec, event: bytes) -> Answer:
    """What its handler says, or what became of it."""
    api = RuntimeApi(cell.runtime_api)
    await api.start()
    asking = asyncio.ensure_future(_asked(cell, api, event))
    gone = asyncio.ensure_future(cell.exited())
    waited: set[asyncio.Future[Any]] = {asking, gone}
    try:
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else _ended(gone.result(), spec)
    finally:
        for one in waited:
            one.cancel()
        await asyncio.gather(*waited, return_exceptions=True)
        await api.close()


async def _asked(cell: Cell, api: RuntimeApi, event: bytes) -> Answer:
    await cell.assign(ENVIRONMENT, "app.handler")
    ready = await api.ready()
    if isinstance(ready, InitFailed):
        return Answer(None, f"the program did not start: {_text(ready.payload)}")
    deadline = int((time.time() + WITHIN_S) * 1000)
    answer = await api.invoke(Call(request_id="probe", deadline_ms=deadline, arn="arn:probe", event=event))
    if isinstance(answer, Response):
        return said(answer.payload)
    if answer.type == "MemoryError":
        return Answer(False, "no more memory was given")
    return Answer(None, f"the program failed: {_text(answer.payload)}")


def said(payload: bytes) -> Answer:
    """The program's own answer."""
    answer = json.loads(payload)
    return Answer(answer["open"], "" if answer["open"] is None else str(answer["words"]))


def _ended(ended: Exit, spec: CellSpec) -> Answer:
    if ended.oom_killed:
        return Answer(False, f"ended by its memory limit of {spec.memory_mb} MB")
    how = f"by signal {ended.signal}" if ended.signal else f"with {ended.code}"
    return Answer(None, f"the program ended {how} and said nothing")


async def seen(attack: str, victims: Victims) -> Answer:
    """What the program itself cannot know: whether anybody heard it, whether it left anybody behind."""
    if attack == "signals":
        heard = await _heard(victims)
        return Answer(heard, "it was heard" if heard else "nobody heard it")
    left = kin.naming(victims.daemon)
    kill_all(left)
    return Answer(bool(left), f"process {left[0]} outlived its run" if left else "it ended with its sandbox")


async def _heard(victims: Victims) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARD_WITHIN_S):
            while not victims.was_hit():  # noqa: ASYNC110  (a signal rings no bell here)
                await asyncio.sleep(0.01)
            return True
    return False


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")[:300]
