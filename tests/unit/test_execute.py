# SPDX-License-Identifier: Apache-2.0
"""One run on a machine, from its lease to its last word: the real Runtime API, tail and official client."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.memory_link import CODE, MemoryLink, an_invocation
from tests.unit.open_sandbox import OpenSandbox

from longshore.adapters.archives.zips import ZipArchives
from longshore.domain.errors import OutOfSpace, Unavailable
from longshore.domain.ids import Digest
from longshore.domain.logs import LogLine, Stream
from longshore.domain.network import Address, Network, NetworkMode
from longshore.domain.order import Invocation, Lease
from longshore.domain.run import RunResult, RunState
from longshore.domain.task import Limits
from longshore.interceptor import attempt, heartbeat, seals
from longshore.interceptor.execute import Executor
from longshore.interceptor.packages import PackageCache
from longshore.interceptor.pool import Pool
from longshore.interceptor.pythons import own
from longshore.interceptor.runtimes import PreparedRuntime, Runtimes
from longshore.interceptor.warm import Environments

pytestmark = pytest.mark.anyio
NOBODY = "http://127.0.0.1:9"


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Here(Runtimes):
    """The Python of this test as it is, with the client that is installed beside it."""

    async def prepared(self, id_: str) -> PreparedRuntime:
        return PreparedRuntime(id=id_, root=None, python=sys.executable, directory=self.home)


@dataclass
class Machine:
    """An executor with everything real but the walls and the control plane."""

    home: Path
    link: MemoryLink
    sandbox: OpenSandbox

    def __post_init__(self) -> None:
        cache = PackageCache(self.home / "cache", ZipArchives(), ())
        here = Here(self.home, {own().id: own()})
        pool, environments = Pool(self.sandbox), Environments(4096)
        self.executor = Executor(self.link, pool, environments, here, cache, SystemClock(), NOBODY)

    async def carry_out(self, code: str, **more: object) -> RunResult:
        """The end of a run of that code."""
        await self.executor.carry_out(self.begin(code, **more))
        return self.link.ends[an_invocation("run").run]

    def begin(self, code: str, **more: object) -> Lease:
        """A lease on a run of that code."""
        package = self.home / "cache" / "code" / CODE
        package.mkdir(parents=True, exist_ok=True)
        (package / "app.py").write_text(code)
        seals.keep(self.home / "cache" / "seals" / CODE, seals.seal(package))
        invocation = an_invocation("run", **{"runtime": own().id, **more})
        return self.link.lease_out(invocation)


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.02)
    built = Machine(tmp_path, MemoryLink(), OpenSandbox())
    yield built
    await built.executor.close()
    await built.sandbox.close()


def quick(timeout_s: float = 0.3) -> Limits:
    return Limits(memory_mb=128, disk_mb=8, timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def under_way(
    machine: Machine, code: str, said: str, **more: object
) -> AsyncIterator["asyncio.Task[None]"]:
    """A run that has printed something and goes on."""
    lease = machine.begin(code, **more)
    carrying = asyncio.create_task(machine.executor.carry_out(lease))
    try:
        async with asyncio.timeout(20):
            while said not in machine.link.texts("run"):
                await asyncio.sleep(0.01)
        yield carrying
        await asyncio.wait_for(asyncio.gather(carrying, return_exceptions=True), 20)
    finally:
        carrying.cancel()


SLEEPS = "import time\ndef handler(event, context):\n    print('here')\n    time.sleep(60)\n"


async def test_a_run_that_succeeds_has_its_result_log_files_usage_and_timeline(machine: Machine) -> None:
    code = """
import os, pathlib, sys
print("loading")
def handler(event, context):
    print("hello", event["who"], os.environ["GREETING"])
    pathlib.Path(os.environ["OUTPUT_DIR"], "report.txt").write_text("numbers")
    sys.stdout.write("no end of line")
    return {"statusCode": 200, "id": context.aws_request_id}
"""
    result = await machine.carry_out(
        code, event=b'{"who": "you"}', environment={"GREETING": "hunter2-secret"}, masks=("hunter2-secret",)
    )

    assert result.state is RunState.SUCCEEDED
    assert json.loads(result.payload or "") == {"statusCode": 200, "id": "run"}
    assert machine.link.files == {"report.txt": b"numbers"}
    assert [step.name for step in result.steps] == [
        "claimed",
        "package",
        "boot",
        "init",
        "handler",
        "upload",
    ]
    assert result.usage.peak_memory_mb == 33.3
    assert result.usage.wall_ms is not None
    lines = machine.link.lines[an_invocation("run").run]
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    start, *output, end, report = [line.text for line in lines]
    assert start == "START RequestId: run Version: $LATEST"
    assert output == ["loading", "hello you ***", "no end of line"]
    assert end == "END RequestId: run"
    assert report.startswith("REPORT RequestId: run\tDuration: ")
    assert report.endswith(" ms\t")


async def test_a_handler_that_raises_fails_with_its_error_and_says_why_in_the_log(machine: Machine) -> None:
    result = await machine.carry_out("def handler(event, context):\n    raise KeyError('lost')\n")

    assert (result.state, result.reason) == (RunState.FAILED, "KeyError: 'lost'")
    assert result.error is not None
    assert result.error.trace
    assert machine.link.texts("run")[-1] == "FAILED KeyError: 'lost'"


async def test_code_that_does_not_load_fails_before_the_event(machine: Machine) -> None:
    result = await machine.carry_out("import nowhere_to_be_found\n")

    assert result.state is RunState.FAILED
    assert result.error is not None
    assert result.error.type == "Runtime.ImportModuleError"


async def test_a_handler_that_exits_is_an_exit_error(machine: Machine) -> None:
    result = await machine.carry_out("import os\ndef handler(event, context):\n    os._exit(3)\n")

    assert result.state is RunState.FAILED
    assert result.error is not None
    assert result.error.message == "RequestId: run Error: Runtime exited with error: exit status 3"


async def test_a_handler_that_takes_too_long_is_stopped_and_what_it_left_is_kept(machine: Machine) -> None:
    code = """
import os, pathlib, signal, time
def handler(event, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(os.environ["OUTPUT_DIR"], "half.txt").write_text("half")
    print("before")
    time.sleep(60)
"""
    result = await machine.carry_out(code, limits=quick())

    assert result.state is RunState.TIMED_OUT
    assert result.error is not None
    assert result.error.message.endswith("Task timed out after 0.30 seconds")
    assert machine.link.files == {"half.txt": b"half"}
    texts = machine.link.texts("run")
    assert texts.index("before") < texts.index("END RequestId: run")
    assert texts[-2].endswith("\tStatus: timeout\t")


async def test_an_error_that_the_memory_limit_caused_is_out_of_memory(machine: Machine) -> None:
    machine.sandbox.oom.set()

    result = await machine.carry_out(
        "def handler(event, context):\n    raise BrokenPipeError('child died')\n"
    )

    assert result.state is RunState.OUT_OF_MEMORY
    assert result.error is not None
    assert result.error.type == "BrokenPipeError"


async def test_a_result_is_a_result_whatever_became_of_the_process_later(machine: Machine) -> None:
    machine.sandbox.oom.set()

    result = await machine.carry_out("def handler(event, context):\n    return {'statusCode': 500}\n")

    assert (result.state, result.reason) == (RunState.FAILED, "the handler returned statusCode 500")


async def test_a_result_that_is_too_large_fails_in_lambdas_words(machine: Machine) -> None:
    result = await machine.carry_out("def handler(event, context):\n    return 'x' * 7_000_000\n")

    assert result.state is RunState.FAILED
    assert result.error is not None
    assert result.error.type == "Function.ResponseSizeTooLarge"


async def test_a_run_is_cancelled_while_its_handler_works(machine: Machine) -> None:
    async with under_way(machine, SLEEPS, "here"):
        machine.link.cancelled.update(machine.link.held)

    result = machine.link.ends[an_invocation("run").run]
    assert (result.state, result.reason) == (RunState.CANCELLED, "cancelled by somebody")
    assert machine.link.texts("run")[-1] == "CANCELLED cancelled by somebody"


async def test_a_run_is_cancelled_while_its_package_is_on_the_way(machine: Machine) -> None:
    slow = Digest("d" * 64)
    machine.link.blobs[slow] = asyncio.Event()
    lease = machine.begin(SLEEPS, package=slow)
    carrying = asyncio.create_task(machine.executor.carry_out(lease))
    await asyncio.sleep(0.05)
    machine.link.cancelled.add(lease.run)
    await asyncio.wait_for(carrying, 10)

    assert machine.link.ends[lease.run].state is RunState.CANCELLED
    assert machine.sandbox.cells == []
    assert list((machine.home / "cache" / "incoming").iterdir()) == []


async def test_a_run_is_cancelled_while_its_sandbox_is_launched(machine: Machine) -> None:
    machine.sandbox.gate.clear()
    lease = machine.begin(SLEEPS)
    carrying = asyncio.create_task(machine.executor.carry_out(lease))
    await machine.sandbox.launching.wait()
    machine.link.cancelled.add(lease.run)
    await asyncio.wait_for(carrying, 10)

    assert machine.link.ends[lease.run].state is RunState.CANCELLED
    assert all(cell.killed for cell in machine.sandbox.cells)


async def test_a_run_whose_lease_is_over_is_stopped_and_reports_nothing(machine: Machine) -> None:
    async with under_way(machine, SLEEPS, "here"):
        machine.link.lose("run")

    assert machine.link.ends == {}
    assert [cell.killed for cell in machine.sandbox.cells] == [True]


async def test_an_agent_that_stops_takes_the_sandbox_along(machine: Machine) -> None:
    async with under_way(machine, SLEEPS, "here") as carrying:
        carrying.cancel()

    assert carrying.cancelled()
    assert [cell.killed for cell in machine.sandbox.cells] == [True]
    assert machine.link.ends == {}


async def test_a_control_plane_that_is_away_for_a_moment_costs_nothing(machine: Machine) -> None:
    code = "import time\ndef handler(event, context):\n    print('here')\n    time.sleep(0.3)\n    return 1\n"
    async with under_way(machine, code, "here"):
        machine.link.down = True
        await asyncio.sleep(1)
        machine.link.down = False

    assert machine.link.ends[an_invocation("run").run].payload == "1"
    assert machine.link.texts("run")[-1].startswith("REPORT")


async def test_a_file_that_cannot_be_kept_is_said_and_the_result_stays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: MemoryLink, lease: Lease, name: str, content: AsyncIterator[bytes]) -> None:
        raise OutOfSpace("the disk is full")

    monkeypatch.setattr(MemoryLink, "keep_file", full)
    code = "import os\ndef handler(event, context):\n    open(os.environ['OUTPUT_DIR'] + '/f', 'w').close()\n"

    result = await machine.carry_out(code)

    assert result.state is RunState.SUCCEEDED
    assert result.notices == ("the file 'f' was not kept: the disk is full",)


async def test_a_run_that_the_control_plane_refuses_is_left_to_it(machine: Machine) -> None:
    lease = machine.begin(SLEEPS)
    machine.link.refused.add(lease.run)

    await machine.executor.carry_out(lease)

    assert machine.link.ends == {}
    assert machine.sandbox.cells == []


async def test_what_the_platform_cannot_do_fails_the_run_with_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(self: OpenSandbox, spec: object, *_: object) -> None:
        raise Unavailable("bwrap is not installed")

    monkeypatch.setattr(OpenSandbox, "launch", missing)

    result = await machine.carry_out(SLEEPS)

    assert result.state is RunState.FAILED
    assert result.reason == "the platform could not run it: bwrap is not installed"


async def test_a_bug_of_ours_fails_the_run_and_not_the_agent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(invocation: Invocation, *_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(attempt, "environment_of", broken)

    result = await machine.carry_out(SLEEPS)

    assert result.state is RunState.FAILED
    assert result.reason == "the platform could not run it: an internal error (ZeroDivisionError)"
    assert [cell.killed for cell in machine.sandbox.cells] == [True]
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_the_notices_of_a_run_are_in_its_log_and_on_its_record(machine: Machine) -> None:
    result = await machine.carry_out(
        "def handler(event, context):\n    pass\n", masks=("abc",), notices=("a",)
    )

    said = "a secret shorter than 4 characters is not masked in the log"
    assert result.notices == (said,)
    lines: list[LogLine] = machine.link.lines[an_invocation("run").run]
    assert [line.text for line in lines[:2]] == ["WARNING a", f"WARNING {said}"]
    assert lines[0].stream is Stream.PLATFORM


async def test_what_a_sandbox_could_not_be_given_is_said_on_every_run_in_it(machine: Machine) -> None:
    machine.sandbox.notices = ("this run has no outbound network: pasta is not installed",)

    ends = [await machine.carry_out("def handler(event, context):\n    return 1\n") for _ in range(2)]

    assert [end.cold for end in ends] == [True, False]
    assert [end.notices for end in ends] == [machine.sandbox.notices] * 2


def test_runs_with_different_networks_share_no_environment() -> None:
    environments = Environments(4096)
    networks = [Network(), Network(NetworkMode.NONE), Network(allow=(Address("mail", 25),))]

    keys = [environments.key(an_invocation("run", network=network), "python3.11") for network in networks]

    assert len(set(keys)) == 3
    assert keys[0] == environments.key(an_invocation("another"), "python3.11")
