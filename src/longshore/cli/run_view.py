# SPDX-License-Identifier: Apache-2.0
"""A run as its reader meets it: the verdict for scripts, the sheet for people."""

import json
from typing import TYPE_CHECKING

from longshore.cli import output
from longshore.cli.ending import Refused
from longshore.cli.output import Moment
from longshore.domain.parameters import type_json
from longshore.domain.run import RunState
from longshore.domain.strict_json import no_constant

if TYPE_CHECKING:
    from longshore.cli.client import Api, Document

VERDICT = ("id", "state", "reason", "result", "usage", "artifacts")
"""What `task run --json` prints, in this order."""


def with_whole_result(api: "Api", run: "Document") -> "Document":
    """The run with its result, also where it was too large to come along."""
    if not run.get("result_truncated"):
        return run
    try:
        text = api.call("GET", api.place("runs", run["id"], "result")).text
    except Refused as refused:
        if refused.status != 404:
            raise
        return run
    return {**run, "result": _value(text), "result_truncated": False}


def _value(text: str) -> type_json:
    """The JSON value; the text itself where it is not strict JSON, such as NaN."""
    try:
        return json.loads(text, parse_constant=no_constant)
    except ValueError:
        return text


def verdict(run: "Document") -> "Document":
    """How a run stands, for scripts."""
    return {name: run.get(name) for name in VERDICT}


def exit_code(run: "Document") -> int:
    """0 for a run that succeeded, 1 for any other end."""
    return 0 if run["state"] == RunState.SUCCEEDED else 1


def in_a_line(run: "Document") -> str:
    """`failed: ValueError: no such file (1.2 s)`"""
    error = run.get("error") or {}
    why = run.get("reason") or ": ".join(filter(None, (error.get("type"), error.get("message"))))
    took = duration((run.get("usage") or {}).get("wall_ms"))
    return f"{run['state']}{f': {why}' if why else ''}{f' ({took})' if took else ''}"


def sheet(run: "Document", *, full: bool) -> None:
    """A run, one side a line; `full` adds where, when and from what."""
    error = run.get("error") or {}
    usage = run.get("usage") or {}
    trigger = run.get("trigger") or {}
    more: list[tuple[str, object]] = [
        ("revision", run.get("revision")),
        ("package", run.get("package")),
        ("attempt", run.get("attempt")),
        ("trigger", f"{trigger.get('kind')} by {trigger.get('by')}"),
        ("interceptor", run.get("interceptor")),
        ("location", run.get("location")),
        ("event", json.dumps(run.get("event"), ensure_ascii=False)),
        *((name, _moment(run.get(name))) for name in ("queued_at", "started_at", "ended_at")),
        (
            "timeline",
            ", ".join(f"{step['name']} {duration(step['ms'])}" for step in run.get("timeline") or ()),
        ),
    ]
    output.fields(
        [
            ("id", run["id"]),
            ("task", run.get("task")),
            ("state", run["state"]),
            ("reason", run.get("reason")),
            *(more if full else ()),
            ("error", ": ".join(filter(None, (error.get("type"), error.get("message"))))),
            ("took", duration(usage.get("wall_ms"))),
            ("memory", f"{usage['peak_memory_mb']:.0f} MB" if usage.get("peak_memory_mb") else None),
            ("result", run.get("result")),
            *(("notice", notice) for notice in run.get("notices") or ()),
            *(("artifact", f"{one['bucket']} {one['key']}") for one in run.get("artifacts") or ()),
        ]
    )
    for line in (error.get("trace") or ()) if full else ():
        output.say(str(line))


def listing(runs: "list[Document]") -> None:
    """Runs, one a line."""
    titles = ("id", "task", "state", "reason", "by", "queued", "took")
    output.table(
        titles,
        [
            (
                run["id"],
                run["task"],
                run["state"],
                run.get("reason"),
                (run.get("trigger") or {}).get("by"),
                _moment(run.get("queued_at")),
                duration((run.get("usage") or {}).get("wall_ms")),
            )
            for run in runs
        ],
    )


def _moment(at: str | None) -> Moment | None:
    return Moment(at) if at else None


def duration(ms: float | None) -> str:
    """850 ms, 12.3 s, 4 min 5 s."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"
