# SPDX-License-Identifier: Apache-2.0
"""Declared parameters, and how a run's event is bound to them.

For a JSON object the declared defaults that are absent are added and types are applied; any other JSON
value passes verbatim. Text is trimmed at both ends with a notice; a secret's value never is.

An optional parameter may be left empty: an empty text or null stays what it is, whatever the type.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from longshore.domain.errors import Invalid
from longshore.domain.names import checked
from longshore.domain.secret import references

MAX_EVENT_BYTES = 6 * 1024 * 1024
MAX_EVENT_DEPTH = 200
MAX_NUMBER_BITS = 14_000
"""About as many as Python turns into digits and back (4300)."""

type_json = Any
"""A JSON value: the one place where the domain has no better name for a thing than this."""


class ParameterType(StrEnum):
    """How a parameter's text becomes a value in the event. ARTIFACT takes `BUCKET/KEY`: the object is laid
    into the sandbox and the handler is given its path. A SECRET is text that is never trimmed or shown."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    JSON = "json"
    SECRET = "secret"  # noqa: S105  (the name of a type)
    ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A declared parameter. `default` is text as a person typed it; None means there is none."""

    name: str
    type: ParameterType = ParameterType.STRING
    unit: str = ""
    required: bool = False
    default: str | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    def checked(self) -> "Parameter":
        """This parameter, or Invalid when name, choices or default cannot be."""
        checked("parameter", self.name, field="parameters")
        if self.type is ParameterType.CHOICE and not any(choice.strip() for choice in self.choices):
            raise Invalid(f"the parameter {self.name} is a choice without choices", field="parameters")
        for text in (self.unit, self.description, self.default or "", *self.choices):
            if _SURROGATE.search(text):
                raise Invalid(f"the parameter {self.name} has {_HALF}", field="parameters")
        if self.default is not None and not has_reference(self.default):
            typed(self, trim(self, self.default))
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """An event ready to be stored: references still in it, and what was done to it in sentences."""

    event: type_json
    defaulted: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def bind(parameters: Sequence[Parameter], event: type_json) -> Bound:
    """Bind an event to the declared parameters; raises Invalid naming the parameter that does not fit.

    A text that holds a reference is left as it is: whoever puts the secret in applies the type then.
    """
    check_event(event)
    if not isinstance(event, dict):
        return Bound(event=event)
    values, notices, defaulted = dict(event), [], []
    for parameter in parameters:
        if parameter.name not in values:
            if parameter.default is None:
                _refuse_missing(parameter)
                continue
            values[parameter.name] = parameter.default
            defaulted.append(parameter.name)
        given = values[parameter.name]
        value = _bound(parameter, given)
        values[parameter.name] = value
        if parameter.name not in defaulted and isinstance(given, str) and trim(parameter, given) != given:
            notices.append(f"spaces around the value of {parameter.name} were removed")
    return Bound(event=values, defaulted=tuple(defaulted), notices=tuple(notices))


def _bound(parameter: Parameter, given: type_json) -> type_json:
    if not isinstance(given, str):
        return typed(parameter, given)
    text = trim(parameter, given)
    return text if has_reference(text) else typed(parameter, text)


def _refuse_missing(parameter: Parameter) -> None:
    if parameter.required:
        raise Invalid(f"the parameter {parameter.name} is required and has no default", field=parameter.name)


_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = "half a character (a lone surrogate) in its text"


def check_event(event: type_json) -> None:
    """Raise Invalid for what looks like JSON in Python but is none, or cannot be stored: NaN and infinity,
    half characters, more than 200 levels."""
    level, depth = [event], 0
    while level:
        depth += 1
        if depth > MAX_EVENT_DEPTH:
            raise Invalid(f"the event is nested more than {MAX_EVENT_DEPTH} levels deep", field="event")
        inner: list[type_json] = []
        for value in level:
            _check_scalar(value)
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
        level = inner


def _check_scalar(value: type_json) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid("the event has a number that JSON does not have: NaN or infinity", field="event")
    if isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS:
        raise Invalid("the event has a number of more than 4200 digits", field="event")
    if isinstance(value, str) and _SURROGATE.search(value):
        raise Invalid(f"the event has {_HALF}", field="event")


def trim(parameter: Parameter, text: str) -> str:
    """The text without white space at its ends; a secret's value stays as it is."""
    return text if parameter.type is ParameterType.SECRET else text.strip()


def has_reference(text: str) -> bool:
    """Whether a text holds something that may be a reference to a secret."""
    return next(references(text), None) is not None


def typed(parameter: Parameter, given: type_json) -> type_json:
    """The value as the parameter's type has it; raises Invalid, without the value, when it cannot be that.

    An optional parameter's null, or blank text where its type is not text, means that it was left empty.
    """
    if given is None and parameter.required:
        raise _refuse(parameter, "a value; null is none")
    if given is None:
        return None
    if parameter.type in _TEXTS:
        return given
    if isinstance(given, str) and not given.strip() and not parameter.required:
        return ""
    return _TYPES[parameter.type](parameter, given)


def _refuse(parameter: Parameter, what: str) -> Invalid:
    return Invalid(f"the parameter {parameter.name} takes {what}", field=parameter.name)


_NUMBER = re.compile(r"(?P<whole>[+-]?[0-9]+)|[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _number(parameter: Parameter, given: type_json) -> int | float:
    """As JSON writes numbers, and also with a plus sign, leading zeros or a bare point."""
    what = f"a number of {parameter.unit}" if parameter.unit else "a number"
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise _refuse(parameter, what)
    try:
        number = _read(given.strip()) if isinstance(given, str) else given
        too_large = number is not None and not math.isfinite(number)
    except (OverflowError, ValueError):
        too_large, number = True, None
    if too_large:
        raise _refuse(parameter, f"{what}, up to 1.7e308")
    if number is None:
        raise _refuse(parameter, f"{what}; this is text")
    return number


def _read(text: str) -> int | float | None:
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    return int(text) if found["whole"] else float(text)


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


def _boolean(parameter: Parameter, given: type_json) -> bool:
    word = _word(given)
    if word is None or word.lower() not in _WORDS:
        raise _refuse(parameter, "true or false")
    return _WORDS[word.lower()]


def _choice(parameter: Parameter, given: type_json) -> str:
    word, choices = _word(given), [choice.strip() for choice in parameter.choices]
    if word is None or word not in choices:
        raise _refuse(parameter, "one of " + ", ".join(choices))
    return word


def _word(given: type_json) -> str | None:
    """A text, number or boolean as a person would have typed it."""
    if isinstance(given, str):
        return given.strip()
    return json.dumps(given) if isinstance(given, bool | int | float) else None


def _json(parameter: Parameter, given: type_json) -> type_json:
    if not isinstance(given, str):
        return given
    try:
        value = json.loads(given, object_pairs_hook=_object, parse_constant=_no_number)
        check_event(value)
    except json.JSONDecodeError as error:
        raise _refuse(parameter, f"JSON; {error}") from None
    except RecursionError:
        raise _refuse(parameter, "JSON; this is nested too deeply") from None
    except ValueError as error:
        raise _refuse(parameter, f"JSON; {error}") from None
    except Invalid as error:
        raise _refuse(parameter, f"JSON; {error.message}") from None
    return value


def _object(pairs: Sequence[tuple[str, type_json]]) -> dict[str, type_json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object in it has two members of one name")
    return members


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _artifact(parameter: Parameter, given: type_json) -> str:
    bucket, _, key = given.strip().partition("/") if isinstance(given, str) else ("", "", "")
    if not bucket or not key:
        raise _refuse(parameter, "an artifact: BUCKET/KEY")
    return f"{bucket}/{key}"


_TEXTS = (ParameterType.STRING, ParameterType.SECRET)
_TYPES: Mapping[ParameterType, Callable[[Parameter, type_json], type_json]] = {
    ParameterType.NUMBER: _number,
    ParameterType.BOOLEAN: _boolean,
    ParameterType.CHOICE: _choice,
    ParameterType.JSON: _json,
    ParameterType.ARTIFACT: _artifact,
}


def carrier_literal(parameters: Sequence[Parameter], values: Mapping[str, str]) -> str:
    """The list that Carrier's tasks read from os.environ["task_parameters"].

    Every member is text, so that both json.loads and ast.literal_eval take it. `values` are the defaults
    with their references expanded.
    """
    rows = [
        {
            "name": parameter.name,
            "default": values.get(parameter.name, ""),
            "type": parameter.type.value,
            "description": parameter.description,
            "action": "",
        }
        for parameter in parameters
    ]
    return json.dumps(rows, ensure_ascii=False)
