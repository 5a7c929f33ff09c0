# SPDX-License-Identifier: Apache-2.0
"""What people and scripts see. stdout carries the answer and nothing else; every other word goes to stderr.

    stdout is a terminal       tables, colours (unless NO_COLOR is set), indented JSON
    stdout is a pipe or file   one line an item, columns divided by tabs, no header or colours; compact JSON

Names, log lines and errors were written by others. What is in them never moves a cursor, sets a title or
turns the reading direction.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from longshore.domain.parameters import type_json

STYLES: Mapping[str, str] = {
    **dict.fromkeys(("succeeded", "ok", "shut"), "green"),
    **dict.fromkeys(("failed", "timed_out", "out_of_memory", "lost", "expired", "error"), "red"),
    **dict.fromkeys(("missing", "OPEN"), "red"),
    **dict.fromkeys(("queued", "starting", "cancelled", "warning"), "yellow"),
    "running": "cyan",
}
"""Words that have a colour wherever they are a whole cell."""
_LINE_COLOURS = {"stderr": "31", "platform": "36"}

_NOT_SHOWN = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]{0,64}m)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|(?P<turning>[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff])"
)
"""Colours, other CSI sequences, OSC and its kin, other escapes, control characters, what turns text."""


class Bytes(int):
    """A number of bytes: in words for people, as the number for scripts."""


class Moment(str):
    """A time as the API gives it: to the second for people, as it is for scripts."""

    __slots__ = ()


class Sum(str):
    """A sha256 in a table: its beginning for people, all of it for scripts."""

    __slots__ = ()


def clean(text: str, *, colours: bool = False) -> str:
    """The text without control characters but tab and newline; colours stay when they are wanted."""

    def put(found: re.Match[str]) -> str:
        if found["turning"]:
            return f"\\u{ord(found['turning']):04x}"
        return found["sgr"] if colours and found["sgr"] else ""

    cleaned = _NOT_SHOWN.sub(put, text)
    return f"{cleaned}\x1b[0m" if colours and "\x1b" in cleaned else cleaned


def on_one_line(text: str) -> str:
    """The text as a cell may have it: cleaned, its lines joined."""
    return clean(text).replace("\t", " ").replace("\n", " ")


def is_for_people() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def has_colours() -> bool:
    """Whether what goes to stdout may have colours."""
    return is_for_people() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str) -> None:
    """A sentence beside the answer."""
    print(clean(text), file=sys.stderr, flush=True)


def document(value: type_json) -> None:
    """The answer as one JSON document. Characters beyond ASCII are escaped: it is safe on any terminal."""
    print(json_text(value, indent=2 if is_for_people() else None), flush=True)


def done(answer: type_json, sentence: str, *, as_json: bool) -> None:
    """The answer of a verb that changes something: a document, or a sentence beside an empty stdout."""
    document(answer) if as_json else say(sentence)


@contextlib.contextmanager
def items() -> Iterator[Callable[[type_json], None]]:
    """One document {"items": [...]}, its items written as they come.

    Nothing is written when it fails before the first item; a list that was begun is always closed.
    """
    before, is_begun = '{"items":[\n', False

    def put(item: type_json) -> None:
        nonlocal before, is_begun
        print(f"{before}{json_text(item)}", end="", flush=True)
        before, is_begun = ",\n", True

    try:
        yield put
        print("" if is_begun else before, end="")
        is_begun = True
    finally:
        if is_begun:
            print("\n]}", flush=True)


def state(sentence: str) -> None:
    """How it ended, after a log: in its colour on a terminal."""
    word = sentence.partition(":")[0].partition(" ")[0]
    codes = {"green": "32", "red": "31", "yellow": "33"}
    if has_colours() and word in STYLES:
        print(f"\x1b[1;{codes[STYLES[word]]}m{clean(sentence)}\x1b[0m", flush=True)
    else:
        print(clean(sentence), flush=True)


def json_text(value: type_json, *, indent: int | None = None) -> str:
    """Strict JSON."""
    return json.dumps(value, indent=indent, allow_nan=False)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under titles for people, tab-separated rows without titles for scripts."""
    if not is_for_people():
        for row in rows:
            print("\t".join(cell(value) for value in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        grid.add_column(title.upper(), overflow="fold")
    for row in rows:
        texts = [cell_for_people(value) for value in row]
        grid.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
    Console().print(grid)


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """A thing, one of its sides a line: aligned for people, tab-separated for scripts. None is left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    if not is_for_people():
        for name, value in shown:
            print(f"{name}\t{cell(value)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in shown:
        text = cell_for_people(value)
        grid.add_row(Text(name, style="bold"), Text(text, style=STYLES.get(text, ""), overflow="fold"))
    Console().print(grid)


def cell(value: object) -> str:
    """A value as scripts get it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return json_text(value)
    return on_one_line(str(value))


def cell_for_people(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, Bytes):
        return size_in_words(value)
    if isinstance(value, Sum):
        return on_one_line(value[:12])
    if isinstance(value, Moment):
        return on_one_line(value[:19].replace("T", " "))
    if isinstance(value, dict | list):
        return clean(json.dumps(value, indent=2, ensure_ascii=False))
    return cell(value)


def size_in_words(size: float) -> str:
    """1536 as 1.5 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def log_line(line: Mapping[str, type_json], *, to_stderr: bool = False) -> None:
    """A line of a run's log: `2026-11-24T10:00:00.123Z stdout text`."""
    out = sys.stderr if to_stderr else sys.stdout
    at, stream = on_one_line(_to_the_millisecond(str(line["at"]))), on_one_line(str(line["stream"]))
    text = str(line["text"]).replace("\n", " ")
    if to_stderr or not has_colours():
        print(at, stream, clean(text), file=out, flush=True)
        return
    colour = _LINE_COLOURS.get(stream, "0")
    print(
        f"\x1b[2m{at}\x1b[0m \x1b[{colour}m{stream:<8}\x1b[0m {clean(text, colours=True)}",
        flush=True,
    )


def _to_the_millisecond(at: str) -> str:
    seconds, _, fraction = at.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<3.3}Z"


@contextlib.contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while bytes move, where stderr is a terminal; call with each piece's length."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(on_one_line(title), total=total)
        yield lambda length: bar.update(task, advance=length)
