# SPDX-License-Identifier: Apache-2.0
"""A long day: thousands of mixed runs through a real server, and nothing left of them afterwards.

    python -m bench.soak [--runs 20000] [--legs 10] [--clients 6] [--seed 1] [--data DIRECTORY]

Handlers return, raise, crash, exit, sleep past their time, take too much memory, leave daemons and files
behind; people cancel. After each leg the server is counted while it is quiet. The verdict: every run has the
end that was asked for and its log; the last leg's memory, files, threads and processes are those of the
first; once the server has stopped, no process, mount, control group, socket or temporary file is there.
Exit code 0 for a clean verdict, 1 otherwise.
"""

import argparse
import queue
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.leftovers import Standing, adopt_orphans, groups_of, left_behind
from bench.serving import Caller, Server, package

FINAL = {"succeeded", "failed", "timed_out", "out_of_memory", "cancelled", "lost", "expired"}
CORES, MEMORY_MB = 6, 4096
GROWTH_MB = 8.0
"""What a server may hold more at the end than after the first leg: it remembers the ends of its last 10,000
runs, for followers that come late."""
MOST_CHILDREN = 16
QUIET_WITHIN_S = 30.0
LOOK_AT_EVERY = 10
HANDLER = """
import ctypes, os, subprocess, sys, time

def handler(event, context):
    print("run", event["n"], event["do"])
    do = event["do"]
    if do == "raise":
        raise ValueError("asked for")
    if do == "crash":
        ctypes.string_at(0)
    if do == "exit":
        os._exit(3)
    if do == "sleep":
        time.sleep(600)
    if do == "eat":
        held = []
        while True:
            held.append(bytearray(4_000_000))
    if do == "daemon":
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    if do == "file":
        for number in range(3):
            with open(f"/output/{number}.bin", "wb") as file:
                file.write(bytes(1000))
    if do == "talk":
        for number in range(2000):
            print("line", number)
    return event["n"]
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: how many of a thousand, what its handler does, how it must end and what its reason or
    error must say. `cancel`: how far it has come when somebody cancels it."""

    name: str
    share: int
    task: str
    do: str
    state: str = "succeeded"
    says: str = ""
    cancel: str | None = None


KINDS = (
    Kind("ok", 640, "usual", "return"),
    Kind("ok, never reused", 30, "never", "return"),
    Kind("ok, with files", 30, "usual", "file"),
    Kind("ok, talkative", 20, "usual", "talk"),
    Kind("ok, leaves a daemon", 30, "usual", "daemon"),
    Kind("raises", 50, "usual", "raise", "failed", "ValueError"),
    Kind("crashes", 40, "usual", "crash", "failed", "segmentation fault"),
    Kind("exits", 40, "usual", "exit", "failed", "exit status 3"),
    Kind("takes too long", 40, "short", "sleep", "timed_out", "within 0.5 s"),
    Kind("takes too much memory", 40, "usual", "eat", "out_of_memory", "limit of 96 MB"),
    Kind("cancelled at work", 30, "usual", "sleep", "cancelled", "cancelled by", cancel="running"),
    Kind("cancelled in the queue", 10, "nowhere", "return", "cancelled", "cancelled by", cancel="queued"),
)
TASKS: dict[str, dict[str, Any]] = {
    "usual": {"limits": {"memory_mb": 96, "disk_mb": 16, "timeout_s": 60}},
    "never": {"limits": {"memory_mb": 96, "disk_mb": 16, "timeout_s": 60}, "reuse": "never"},
    "short": {"limits": {"memory_mb": 96, "disk_mb": 16, "timeout_s": 0.5}},
    "nowhere": {"location": "nowhere"},
    "everything": {"limits": {"memory_mb": MEMORY_MB, "timeout_s": 60}, "reuse": "never"},
}


def make_tasks(caller: Caller) -> None:
    """The tasks over the package."""
    caller.ask("PUT", "/buckets/tasks/objects/soak.zip", raw=package(HANDLER))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for name, fields in TASKS.items():
        draft = {"name": name, "runtime": version, "handler": "app.handler", "package": "soak.zip"}
        caller.ask("POST", "/tasks", {**draft, **fields})


def plan(runs: int, seed: int) -> list[Kind]:
    """So many runs of every kind as their shares say, in an order of chance that can be had again."""
    exact = [kind for kind in KINDS for _ in range(max(1, round(runs * kind.share / 1000)))]
    random.Random(seed).shuffle(exact)
    return exact


@dataclass(slots=True)
class Ledger:
    """What was asked for, and whether it came."""

    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: Kind, number: int, run: dict[str, Any], log: str | None) -> None:
        """One more run that is over."""
        found = complaint(kind, number, run, log)
        with self._lock:
            self.ends[run["state"]] += 1
            self.kinds[kind.name] += 1
            if found:
                self.wrong.append(f"{kind.name}, run {run['id']}: {found}")

    def fail(self, kind: Kind, error: Exception) -> None:
        """A run that could not even be asked for, or followed."""
        with self._lock:
            self.wrong.append(f"{kind.name}: {type(error).__name__}: {error}")


def complaint(kind: Kind, number: int, run: dict[str, Any], log: str | None) -> str | None:
    """What is not as it was asked for; None when all is well."""
    said = f"{run['reason']} {(run['error'] or {}).get('type')}"
    if run["state"] != kind.state or kind.says not in said:
        return f"it is {run['state']} ({said}) and should be {kind.state} ({kind.says})"
    if kind.state == "succeeded" and run["result"] != number:
        return f"it returned {run['result']!r}, not {number}"
    if kind.do == "file" and len(run["artifacts"]) != 3:
        return f"it has {len(run['artifacts'])} files"
    if log is None or kind.cancel == "queued":
        return None
    handlers = log.count(f"run {number} {kind.do}")
    if log.count("REPORT RequestId") != 1 or handlers > 1 or (handlers == 0 and kind.cancel is None):
        return f"its log is {log[:500]!r}"
    if kind.do == "talk" and log.count("stdout line ") != 2000:
        return f"its log has {log.count('stdout line ')} of 2000 lines"
    return None


def carry_out(caller: Caller, ledger: Ledger, kind: Kind, number: int) -> None:
    """One run from its request to its end: waited for by its request, or queued and asked for."""
    body = {"event": {"do": kind.do, "n": number}}
    at_once = number % 2 == 0 and kind.cancel is None
    run = caller.ask("POST", f"/tasks/{kind.task}/runs{'?wait=100' if at_once else ''}", body)
    if kind.cancel is not None:
        while run["state"] not in FINAL and run["state"] != kind.cancel:
            time.sleep(0.02)
            run = caller.ask("GET", f"/runs/{run['id']}")
        caller.ask("POST", f"/runs/{run['id']}/cancel")
    if run["state"] not in FINAL:
        run = caller.ask("GET", f"/runs/{run['id']}?wait=100")
    look = number % LOOK_AT_EVERY == 0 or kind.do == "talk"
    ledger.note(kind, number, run, caller.ask("GET", f"/runs/{run['id']}/log") if look else None)


def leg(server: Server, ledger: Ledger, kinds: Sequence[tuple[int, Kind]], clients: int) -> None:
    """A stretch of runs by several clients at once."""
    waiting: queue.SimpleQueue[tuple[int, Kind]] = queue.SimpleQueue()
    for one in kinds:
        waiting.put(one)

    def work() -> None:
        caller = Caller(server.address, server.token)
        while True:
            try:
                number, kind = waiting.get_nowait()
            except queue.Empty:
                caller.close()
                return
            try:
                carry_out(caller, ledger, kind, number)
            except Exception as error:  # noqa: BLE001  (whatever it is, the verdict must say it)
                ledger.fail(kind, error)
                caller.close()
                caller = Caller(server.address, server.token)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def quiet(server: Server, caller: Caller) -> Standing:
    """The server with nothing to do. A run that takes all the memory there is ends every environment that
    waits, so that only cells are there that have booted ahead."""
    run = caller.ask("POST", "/tasks/everything/runs?wait=60", {"event": {"do": "return", "n": 0}})
    if run["state"] != "succeeded":
        raise RuntimeError(f"the run that takes all memory is {run['state']}: {run['reason']}")
    by = time.monotonic() + QUIET_WITHIN_S
    found = server.standing()
    while time.monotonic() < by:
        time.sleep(1)
        before, found = found, server.standing()
        is_settled = replace(found, memory_mb=0, threads=0) == replace(before, memory_mb=0, threads=0)
        if is_settled and not found.zombies and not found.temporary:
            break
    return found


def judge(first: Standing, last: Standing) -> list[str]:
    """What has grown between two quiet moments. Sandboxes that have booted ahead come with descriptors and
    processes of their own, and with a control group in each tree."""
    lines = []
    more = max(0, last.children - first.children)
    if last.memory_mb > first.memory_mb + GROWTH_MB:
        lines.append(f"memory grew from {first.memory_mb:.1f} to {last.memory_mb:.1f} MB")
    for name, each in (("files", 12), ("processes", 6), ("groups", 5)):
        if getattr(last, name) > getattr(first, name) + more * each + 2:
            lines.append(f"{name} grew from {getattr(first, name)} to {getattr(last, name)}")
    if last.children > MOST_CHILDREN:
        lines.append(f"{last.children} sandboxes and networks wait although nobody runs anything")
    if last.zombies or last.temporary:
        lines.append(f"{last.zombies} zombies, {last.temporary} temporary files")
    return lines


def tally(data: Path, asked: int) -> list[str]:
    """What the run table itself says, once nobody writes it any more."""
    with sqlite3.connect(data / "state" / "longshore.db") as rows:
        whole = rows.execute("PRAGMA integrity_check").fetchone()[0]
        states = dict(rows.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall())
    lines = [] if whole == "ok" else [f"the database is damaged: {whole}"]
    if sum(states.values()) != asked:
        lines.append(f"{asked} runs were asked for, {sum(states.values())} are on record")
    lines += [f"{count} runs are {state} for ever" for state, count in states.items() if state not in FINAL]
    return lines


COLUMNS = ("memory_mb", "files", "threads", "processes", "children", "groups", "zombies", "temporary")


def soak(place: Path, given: argparse.Namespace) -> list[str]:
    """All of it; what is wrong, a line each."""
    adopt_orphans()
    kinds = list(enumerate(plan(given.runs, given.seed), 1))
    server = Server(place, {"LONGSHORE_CPU_CORES": str(CORES), "LONGSHORE_MEMORY_MB": str(MEMORY_MB)})
    server.start()
    groups = groups_of(server.data)
    try:
        lines = day(server, kinds, given)
    finally:
        code = server.stop()
    lines += tally(server.data, len(kinds) + given.legs)
    lines += [f"the server ended with {code}"] * bool(code)
    lines += [f"the server complained: {line}" for line in server.complaints()]
    return lines + left_behind(server.data, server.temporary, groups)


def day(server: Server, kinds: Sequence[tuple[int, Kind]], given: argparse.Namespace) -> list[str]:
    """All runs, leg by leg, with a look at the quiet server after each."""
    ledger, caller = Ledger(), Caller(server.address, server.token)
    make_tasks(caller)
    size = -(-len(kinds) // given.legs)
    print(f"{'runs':>7} {'per s':>6} {'wrong':>6} " + " ".join(f"{name:>9}" for name in COLUMNS), flush=True)
    stood: list[Standing] = []
    for start in range(0, len(kinds), size):
        began = time.monotonic()
        leg(server, ledger, kinds[start : start + size], given.clients)
        pace = len(kinds[start : start + size]) / (time.monotonic() - began)
        caller.close()  # it may have been idle for too long
        stood.append(quiet(server, caller))
        counted = " ".join(f"{getattr(stood[-1], name):9.4g}" for name in COLUMNS)
        done = min(start + size, len(kinds))
        print(f"{done:7} {pace:6.1f} {len(ledger.wrong):6} {counted}", flush=True)
    caller.close()
    for name, count in sorted(ledger.kinds.items()):
        print(f"{count:7} {name}")
    print("ends: " + ", ".join(f"{count} {state}" for state, count in ledger.ends.most_common()))
    return ledger.wrong + judge(stood[0], stood[-1])


def main() -> None:
    """In a directory where sandbox users can reach it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=20_000)
    words.add_argument("--legs", type=int, default=10)
    words.add_argument("--clients", type=int, default=6)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--data", type=Path, help="directory to work in and to keep; else a temporary one")
    given = words.parse_args()
    place = given.data or Path(tempfile.mkdtemp(prefix="longshore-soak-", dir="/var/tmp"))
    place.mkdir(exist_ok=True, parents=True)
    place.chmod(0o755)
    try:
        lines = soak(place, given)
    finally:
        if given.data is None:
            shutil.rmtree(place, ignore_errors=True)
    for line in lines[:100]:
        print(f"WRONG  {line}")
    print(f"verdict: {len(lines)} things are wrong" if lines else "verdict: clean")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
