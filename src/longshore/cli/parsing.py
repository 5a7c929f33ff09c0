# SPDX-License-Identifier: Apache-2.0
"""From what was typed to what the API takes.

--parameter      name[:type][!][=default]     type: string number boolean json secret artifact choice(a|b|c)
                                              !: a run must give it
-p, --env        name=value                   the value is everything after the first =
--event          JSON, @file, or - for stdin
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from longshore.cli.ending import Misused
from longshore.domain.parameters import ParameterType, type_json
from longshore.domain.strict_json import finite, no_constant

_DECLARATION = re.compile(
    r"(?P<name>[^=:!]+)"
    r"(?::(?P<type>[A-Za-z]+)(?:\((?P<choices>[^)]*)\))?)?"
    r"(?P<required>!)?"
    r"(?:=(?P<default>.*))?",
    re.DOTALL,
)


def declared(given: str) -> dict[str, type_json]:
    """One `--parameter` as the API takes it."""
    found = _DECLARATION.fullmatch(given)
    if not found:
        raise Misused(
            f"--parameter {given!r} is not a declaration; it takes name, name=default, name:type=default,"
            " or name! for one that every run must give"
        )
    kind = (found["type"] or "string").lower()
    if kind not in set(ParameterType):
        raise Misused(
            f"--parameter {given!r}: there is no type {kind!r}; it takes {', '.join(ParameterType)}"
        )
    if (kind == ParameterType.CHOICE) != (found["choices"] is not None):
        raise Misused(f"--parameter {given!r}: choices are written name:choice(one|two|three)=one")
    parameter: dict[str, type_json] = {"name": found["name"].strip(), "type": kind}
    if found["required"]:
        parameter["required"] = True
    if found["choices"] is not None:
        parameter["choices"] = [choice.strip() for choice in found["choices"].split("|")]
    if found["default"] is not None:
        parameter["default"] = _utf8(found["default"], f"--parameter {found['name']}")
    return parameter


def parameters(given: Sequence[str] | None, file: Path | None) -> list[dict[str, type_json]]:
    """The file's parameters with those of `--parameter` put over them by name."""
    over = {parameter["name"]: parameter for parameter in map(declared, given or ())}
    if len(over) < len(given or ()):
        raise Misused("--parameter declares the same name twice; leave one of them out")
    listed = _parameters_of(file) if file else []
    return [over.pop(one.get("name"), one) for one in listed] + list(over.values())


def _parameters_of(file: Path) -> list[dict[str, type_json]]:
    found = json_of(_text_of(file), str(file))
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Misused(f"{file} is not a list of parameters; it takes [{{'name': ..., 'type': ...}}, ...]")
    return found


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """name=value, each name once."""
    found: dict[str, str] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise Misused(f"{option} {_named(one)} has no '='; it takes name=value")
        if name.strip() in found:
            raise Misused(f"{option} gives {name.strip()!r} twice; leave one of them out")
        found[name.strip()] = _utf8(value, f"{option} {name}")
    return found


def _named(given: str) -> str:
    """The beginning only: it may be a value that somebody wanted kept."""
    return repr(given if len(given) <= 16 else f"{given[:16]}…")


def event(given: str) -> type_json:
    """The JSON value of `--event`."""
    if given == "-":
        return json_of(stdin_text("the event"), "the event from stdin")
    if given.startswith("@"):
        return json_of(_text_of(Path(given[1:])), f"the event from {given[1:]}")
    return json_of(_utf8(given, "--event"), "--event")


def json_of(text: str, what: str) -> type_json:
    """Strict JSON; raises Misused saying where it is not."""
    try:
        return json.loads(text, parse_constant=no_constant, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise Misused(f"{what} is not JSON: {error}") from None


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise Misused(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misused(f"{file} is not UTF-8 text") from None


def stdin_text(what: str) -> str:
    """All of stdin, line ends as they are."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Misused(f"{what} on stdin is not UTF-8 text") from None


def _utf8(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Misused(f"{what}: the value is not UTF-8 text") from None
    return text


def merged(
    now: Sequence[Mapping[str, type_json]], changes: Sequence[Mapping[str, type_json]], without: Sequence[str]
) -> list[Mapping[str, type_json]]:
    """Parameters with changes put over them by name; those in `without` are gone."""
    over = {str(one["name"]): one for one in changes}
    kept = [over.pop(str(one["name"]), one) for one in now]
    return [one for one in (*kept, *over.values()) if one["name"] not in without]
