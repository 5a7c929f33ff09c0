# SPDX-License-Identifier: Apache-2.0
"""What the task was asked to do: from an event to `Options`.

An event may be an object, a list with one object, or the rows of a form ([{"name": ..., "default": ...}]).
What it leaves out is taken from os.environ["task_parameters"], as Carrier gives it, and then from here.
Values may be text or numbers, with spaces around them and the usual ways to write a percentile or a unit.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from results.gates import Limits
from results.jtl import Reading
from results.percentiles import Method
from results.stamps import Stamps
from results.statistics import Apdex
from results.summary import Wanted
from results.xml_reader import Children

DEFAULTS = {
    "rt_threshold": "1",
    "tp_threshold": "10",
    "er_threshold": "2",
    "pct": "95Pct",
    "think_time": "2,0-5,0",
    "apdex_t": "0.5",
    "apdex_f": "1.5",
    "percentile_method": "exact",
    "timezone": "UTC",
    "timestamps": "auto",
    "xml_children": "all",
}
NOT_YET = frozenset(
    {"report_id", "project_id", "url", "galloper_url", "token", "api_token"}
    | {"smtp_host", "smtp_port", "smtp_user", "smtp_password", "smtp_sender", "smtp_tls"}
    | {"smtp_email_recipients", "dry_run_email", "subject_template"}
    | {"granularity_s", "baseline", "regression_pct"}
)
"""Parameters of this task that the first version understands and does not use."""

_USED = frozenset(
    {"bucket", "file_name", "trim_start_s", "trim_end_s", "label_include", "label_exclude", "fail_on_gate"}
    | DEFAULTS.keys()
)
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

Value = object
"""A JSON value."""


class BadParameter(ValueError):
    """A parameter that cannot be; the sentence says which, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The event, understood. `ignored` are names that were given and have no effect."""

    files: tuple[str, ...]
    bucket: str
    wanted: Wanted
    limits: Limits
    think_time: str
    zone: tzinfo
    zone_name: str
    fail_on_gate: bool
    recipients: bool
    ignored: tuple[str, ...]


def options(event: Value, environment: Mapping[str, str]) -> Options:
    """What an event asks for. Raises BadParameter."""
    given = {**_carrier_defaults(environment.get("task_parameters", "")), **_members(event)}
    values = _Values({**DEFAULTS, **given})
    zone_name = values.text("timezone") or "UTC"
    zone = _zone(zone_name)
    return Options(
        files=values.names("file_name"),
        bucket=values.text("bucket"),
        wanted=_wanted(values, zone),
        limits=Limits(
            percent=_percent(values.text("pct")),
            response_time_s=values.seconds("rt_threshold"),
            throughput_per_s=values.number("tp_threshold", unit="req/s"),
            error_pct=values.number("er_threshold", unit="%"),
        ),
        think_time=values.text("think_time"),
        zone=zone,
        zone_name=zone_name,
        fail_on_gate=values.switch("fail_on_gate"),
        recipients=bool(values.text("smtp_email_recipients")),
        ignored=tuple(sorted(name for name in given if name not in _USED and values.text(name))),
    )


def _wanted(values: "_Values", zone: tzinfo) -> Wanted:
    satisfied, tolerated = values.seconds("apdex_t") or 0.5, values.seconds("apdex_f") or 1.5
    if tolerated < satisfied:
        raise BadParameter(f"apdex_f ({tolerated:g} s) is below apdex_t ({satisfied:g} s); it must not be")
    return Wanted(
        reading=Reading(
            zone=zone,
            stamps=Stamps(values.choice("timestamps", [*Stamps])),
            children=Children(values.choice("xml_children", [*Children])),
            include=values.pattern("label_include"),
            exclude=values.pattern("label_exclude"),
        ),
        method=Method(values.choice("percentile_method", [*Method])),
        apdex=Apdex(satisfied_ms=satisfied * 1000, tolerated_ms=tolerated * 1000),
        trim_start_s=values.seconds("trim_start_s") or 0,
        trim_end_s=values.seconds("trim_end_s") or 0,
    )


def _members(event: Value) -> dict[str, Value]:
    if isinstance(event, list) and all(_is_row(one) for one in event):
        return _rows(event)
    if isinstance(event, list) and len(event) == 1:
        event = event[0]
    if event is None:
        return {}
    if not isinstance(event, dict):
        raise BadParameter('the event is not an object; it takes parameters: {"file_name": "...", ...}')
    return {str(name).strip(): value for name, value in event.items()}


def _is_row(one: Value) -> bool:
    return isinstance(one, dict) and "name" in one and "default" in one


def _rows(rows: Sequence[Value]) -> dict[str, Value]:
    return {str(row["name"]).strip(): row["default"] for row in rows if isinstance(row, dict)}


def _carrier_defaults(literal: str) -> dict[str, Value]:
    """The rows that Carrier puts into the environment: JSON, or a Python literal."""
    if not literal.strip():
        return {}
    try:
        rows = _parsed(literal)
    except (ValueError, SyntaxError):
        raise BadParameter(
            "task_parameters in the environment is neither JSON nor a Python literal"
        ) from None
    return _rows(rows) if isinstance(rows, list) and all(_is_row(one) for one in rows) else {}


def _parsed(literal: str) -> Value:
    try:
        return json.loads(literal)
    except ValueError:
        return ast.literal_eval(literal)


@dataclass(frozen=True, slots=True)
class _Values:
    """Typed looks at the parameters' values; an empty text or null is no value."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if isinstance(value, bool):
            return str(value).lower()
        return "" if value is None else str(value).strip()

    def names(self, name: str) -> tuple[str, ...]:
        """One name, or a list of them, also as JSON text."""
        value = self.values.get(name)
        if isinstance(value, str) and value.strip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                raise BadParameter(
                    f'{name} is neither a path nor a JSON list: ["one.jtl", "two.jtl"]'
                ) from None
        listed = value if isinstance(value, list) else [value]
        return tuple(str(one).strip() for one in listed if one is not None and str(one).strip())

    def number(self, name: str, *, unit: str) -> float | None:
        """A number that is not negative; its own unit may stand behind it."""
        text = self.text(name).lower().removesuffix(unit).strip()
        if not text:
            return None
        number = _number(text)
        if number is None or number < 0:
            raise BadParameter(f"{name} is {self.text(name)!r}; it takes a number of {unit}, 0 or more")
        return number

    def seconds(self, name: str) -> float | None:
        """Seconds, unless `ms` stands behind the number."""
        text = self.text(name).lower()
        found = re.fullmatch(r"(.*?)\s*(ms|msec|milliseconds?|s|sec|seconds?|)", text)
        unit = found[2] if found else ""
        number = _number(found[1]) if found and found[1] else None
        if not text:
            return None
        if number is None or number < 0:
            raise BadParameter(
                f"{name} is {self.text(name)!r}; it takes seconds (0.8) or milliseconds (800ms)"
            )
        return number / 1000 if unit.startswith("m") else number

    def switch(self, name: str) -> bool:
        word = self.text(name).lower() or "false"
        if word not in _WORDS:
            raise BadParameter(f"{name} is {word!r}; it takes true or false")
        return _WORDS[word]

    def choice(self, name: str, choices: Sequence[str]) -> str:
        word = self.text(name).lower() or DEFAULTS[name]
        if word not in choices:
            raise BadParameter(f"{name} is {word!r}; it takes one of {', '.join(choices)}")
        return word

    def pattern(self, name: str) -> re.Pattern[str] | None:
        text = self.text(name)
        try:
            return re.compile(text) if text else None
        except re.error as error:
            raise BadParameter(f"{name} is {text!r}, which is no regular expression: {error}") from None


def _number(text: str) -> float | None:
    """A decimal number; a comma is a decimal comma unless it could be meant otherwise (1,000)."""
    if re.fullmatch(r"[+-]?\d+,\d{1,2}", text.strip()):
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _percent(text: str) -> float:
    """95Pct, pct95, p95, 95th, 95 % or 95."""
    found = re.fullmatch(r"(?:p|pct)?\s*(50|75|90|95|99)(?:\.0)?\s*(?:%|th|pct|p)?", text.lower() or "95")
    if not found:
        raise BadParameter(f"pct is {text!r}; it takes 50, 75, 90, 95 or 99, also written as 95Pct or p95")
    return float(found[1])


def _zone(name: str) -> tzinfo:
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if found := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?", name.upper()):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return _offset(name, -offset if found[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadParameter(
            f"timezone {name!r} is not known here; it takes UTC, an offset (+02:00), or a name such as"
            " Europe/Berlin"
        ) from None


def _offset(name: str, offset: timedelta) -> tzinfo:
    try:
        return timezone(offset, name)
    except ValueError:
        raise BadParameter(f"timezone {name!r} is more than a day away from UTC") from None
