# SPDX-License-Identifier: Apache-2.0
"""A run from here to its end. The run does not depend on us: we may lose the server, or be told to stop."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from longshore.cli.ending import Interrupted, Unreachable
from longshore.domain.run import RunState

if TYPE_CHECKING:
    from longshore.cli.client import Api, Document

WAIT_S = 60
AFTER_LOG_S = 5
SILENCE_S = 60
"""How long a log may say nothing before we ask again: a dead connection says nothing either."""


def is_over(run: "Document") -> bool:
    """Whether nothing follows."""
    return RunState(run["state"]).is_final


def ended(api: "Api", run: str) -> "Document":
    """The run, once it is over."""
    with _the_run_goes_on(run):
        while not is_over(found := _asked(api, run, WAIT_S)):
            pass
        return found


def followed(api: "Api", run: str, show: "Callable[[Document], None]") -> "Document":
    """The run once it is over, its log shown until then, each line once."""
    last = 0

    def shown(line: "Document") -> None:
        nonlocal last
        show(line)
        last = line["seq"]

    with _the_run_goes_on(run):
        while True:
            is_whole = _all_lines(api, run, last, shown)
            found = _asked(api, run, AFTER_LOG_S)
            if is_whole and is_over(found):
                return found


def _asked(api: "Api", run: str, wait: int) -> "Document":
    from longshore.cli.client import patiently

    return patiently(lambda: api.get(api.place("runs", run), wait=wait))


def _all_lines(api: "Api", run: str, after: int, show: "Callable[[Document], None]") -> bool:
    """Show lines as they come; whether the server said that they were all."""
    try:
        for line in lines(api, run, after=after, follow=True):
            show(line)
    except Unreachable:
        return False
    return True


def lines(api: "Api", run: str, *, after: int = 0, follow: bool = False) -> "Iterator[Document]":
    """A run's log after a line's number: what is there, or with `follow` until the run is over."""
    from httpx import Timeout

    place = api.place("runs", run, "log")
    patience = Timeout(SILENCE_S, connect=10)
    with api.stream(
        place, timeout=patience, after=after, follow=str(follow).lower(), format="json"
    ) as answer:
        rest = b""
        for piece in answer.iter_bytes():
            *whole, rest = (rest + piece).split(b"\n")
            yield from (json.loads(line) for line in whole if line.strip())


@contextlib.contextmanager
def _the_run_goes_on(run: str) -> Iterator[None]:
    how = f"follow it with: longshore run logs {run} --follow, end it with: longshore run cancel {run}"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"\nThe run {run} goes on; {how}") from None
    except Unreachable as error:
        raise Unreachable(f"{error.sentence}\nThe run {run} goes on without us; {how}") from error
