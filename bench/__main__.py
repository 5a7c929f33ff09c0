# SPDX-License-Identifier: Apache-2.0
"""Longshore beside its floors and its peers, in one run and one table.

    python -m bench [--quick] [--rounds N] [--only WORD ...] [--install-peers] [--no-peers]
                    [--json FILE] [--markdown FILE]

Everything is taken in rounds, floors, Longshore and peers one after the other, so that a noisy machine
disturbs all alike. What is measured and whoever measures run on different cores, except where a table says
`free`. Ratios say how many times worse a row is than its floor, and a peer than Longshore; below 1 it is
better.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.floors import Floors
from bench.machine import CLIENT_CORES, describe, load
from bench.measure import FULL, GROUPS, MEMORY, QUICK, Effort, Measure, NotThere, Thing
from bench.ours_http import Longshore
from bench.ours_inside import Inside
from bench.peers import install
from bench.peers.cold import ColdPeers
from bench.peers.http import PRODUCTS, HttpPeer
from bench.peers.queues import QUEUES, QueuePeer
from bench.report import report, write
from bench.table import Figure, Row, documents, figures, text


@dataclass(slots=True)
class Session:
    """What was measured so far, and what could not be."""

    effort: Effort
    only: Sequence[str] = ()
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, str] = field(default_factory=dict)

    def wanted(self, measure: Measure) -> bool:
        """Whether the command line asked for one of its rows."""
        words = " ".join(
            (measure.group, *(f"{row.key} {row.kind} {row.says}" for row in measure.rows))
        ).lower()
        return not self.only or any(word.lower() in words for word in self.only)

    def measures(self, things: Sequence[Thing]) -> list[Measure]:
        """Of all things, by group: what is compared is measured close together."""
        every = [measure for thing in things for measure in thing.measures() if self.wanted(measure)]
        return sorted(every, key=lambda measure: GROUPS.index(measure.group))

    def start(self, things: Sequence[Thing]) -> None:
        """Start those that are needed; the rows of one that cannot be say why not."""
        for thing in things:
            if not self.measures([thing]):
                continue
            say(f"starting {getattr(getattr(thing, 'product', thing), 'key', type(thing).__name__)}")
            try:
                thing.start()
            except Exception as error:  # noqa: BLE001  (a peer that fails is a row that says so)
                self._note(self.measures([thing]), error)

    def round(self, number: int, measures: Sequence[Measure]) -> None:
        """Each measure once, but those that have failed before and those whose turn it is not."""
        for measure in measures:
            if not self._has_its_turn(measure, number) or any(row.key in self.failed for row in measure.rows):
                continue
            say(f"round {number + 1} of {self.effort.rounds}: {measure.rows[0].says}")
            try:
                for key, values in measure.take().items():
                    self.took[key] += values
            except Exception as error:  # noqa: BLE001  (the table is for all the others)
                self._note([measure], error)

    def _has_its_turn(self, measure: Measure, number: int) -> bool:
        """Memory is looked at when all else is done."""
        if measure.group == MEMORY:
            return number == self.effort.rounds - 1
        return number % measure.every == 0

    def _note(self, measures: Sequence[Measure], error: Exception) -> None:
        why = str(error) or type(error).__name__
        if not isinstance(error, NotThere):
            why = f"failed: {why}"
        self.failed.update({row.key: why for measure in measures for row in measure.rows})

    def figures(self, things: Sequence[Thing]) -> list[Figure]:
        """The table."""
        groups: dict[str, list[Row]] = {}
        for measure in self.measures(things):
            groups.setdefault(measure.group, []).extend(measure.rows)
        return figures(groups, self.took, self.failed)


def say(words: str) -> None:
    """What is going on, where a person looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words[:100]}", end="", file=sys.stderr, flush=True)


def things(effort: Effort, *, peers: bool) -> list[Thing]:
    """Floors first, then ours, then peers."""
    found: list[Thing] = [Floors(effort), Inside(effort), Longshore(effort)]
    if peers:
        found.append(ColdPeers(effort))
        found += [HttpPeer(effort, product) for product in PRODUCTS]
        found += [QueuePeer(effort, queue) for queue in QUEUES]
    return found


def measured(session: Session, every: Sequence[Thing]) -> list[Figure]:
    """All rounds; whatever happens, everything that was started is ended."""
    os.sched_setaffinity(0, CLIENT_CORES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as ends:
        for thing in every:
            ends.callback(thing.stop)
        session.start(every)
        measures = session.measures(every)
        for number in range(session.effort.rounds):
            session.round(number, measures)
        say("")
    return session.figures(every)


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--quick", action="store_true", help="two short rounds instead of ten")
    words.add_argument("--rounds", type=int, help="how many rounds")
    words.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="rows with this word; may be repeated"
    )
    words.add_argument(
        "--install-peers", action="store_true", help=f"fetch the peers into {install.HOME} and end"
    )
    words.add_argument("--no-peers", action="store_true", help="floors and Longshore alone")
    words.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    words.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="write a report there too, or between its marks",
    )
    return words


def main() -> None:
    """Measure as the command line says."""
    given = _words().parse_args()
    if given.install_peers:
        install.install()
        return
    effort = QUICK if given.quick else FULL
    if given.rounds:
        effort = replace(effort, rounds=given.rounds)
    show(given, effort)


def show(given: argparse.Namespace, effort: Effort) -> None:
    """Measure, print, write."""
    about = describe()
    if not given.no_peers:
        about["peers"] = install.versions()
    session, every = Session(effort, given.only), things(effort, peers=not given.no_peers)
    began = time.monotonic()
    found = measured(session, every)
    inside = next(thing for thing in every if isinstance(thing, Inside))
    about["isolation"] = inside.isolation or "not looked at"
    about["took"] = f"{effort.rounds} rounds in {time.monotonic() - began:.0f} s"
    about["load after"] = load()
    print("\n".join(f"{name}: {words}" for name, words in about.items()))
    print(text(found))
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rows": documents(found)}, indent=1))
    if given.markdown:
        write(given.markdown, report(about, found))


if __name__ == "__main__":
    main()
