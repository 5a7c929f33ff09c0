# SPDX-License-Identifier: Apache-2.0
"""Declared parameters, and how a run's event is bound to them.

For a JSON object the declared defaults that are absent are added and types are applied; any other JSON
value passes verbatim. Text is trimmed at both ends with a notice; a secret's value never is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from longshore.domain.errors import Invalid
from longshore.domain.names import checked
from longshore.domain.secret import references

MAX_EVENT_BYTES = 6 * 1024 * 1024

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
        if self.type is ParameterType.CHOICE and not self.choices:
            raise Invalid(f"the parameter {self.name} is a choice without choices", field="parameters")
        if self.default is not None and not has_reference(self.default):
            typed(self, self.default)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """An event ready to be stored: references still in it, and what was done to it in sentences."""

    event: type_json
    defaulted: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def bind(parameters: Sequence[Parameter], event: type_json) -> Bound:
    """Bind an event to the declared parameters; raises Invalid naming the parameter that does not fit.

    A text that holds a reference is left for the moment when the secret is there: see `typed_after`.
    """
    if not isinstance(event, dict):
        return Bound(event=event)
    values, notices, defaulted = dict(event), [], []
    for parameter in parameters:
        if parameter.name not in values:
            if parameter.default is None:
                if parameter.required:
                    raise Invalid(
                        f"the parameter {parameter.name} is required and has no default", field=parameter.name
                    )
                continue
            values[parameter.name] = parameter.default
            defaulted.append(parameter.name)
        given = values[parameter.name]
        if isinstance(given, str):
            trimmed = trim(parameter, given)
            if trimmed != given and parameter.name not in defaulted:
                notices.append(f"spaces around the value of {parameter.name} were removed")
            values[parameter.name] = trimmed if has_reference(trimmed) else typed(parameter, trimmed)
        else:
            values[parameter.name] = typed(parameter, given)
    return Bound(event=values, defaulted=tuple(defaulted), notices=tuple(notices))


def trim(parameter: Parameter, text: str) -> str:
    """The text without white space at its ends; a secret's value stays as it is."""
    return text if parameter.type is ParameterType.SECRET else text.strip()


def has_reference(text: str) -> bool:
    """Whether a text holds something that may be a reference to a secret."""
    return next(references(text), None) is not None


def typed(parameter: Parameter, given: type_json) -> type_json:
    """The value as the parameter's type has it; raises Invalid when it cannot be that."""
    match parameter.type:
        case ParameterType.NUMBER:
            return _number(parameter, given)
        case ParameterType.BOOLEAN:
            return _boolean(parameter, given)
        case ParameterType.CHOICE:
            return _choice(parameter, given)
        case ParameterType.JSON:
            return _json(parameter, given) if isinstance(given, str) else given
        case _:
            return given


def _refuse(parameter: Parameter, what: str) -> Invalid:
    return Invalid(f"the parameter {parameter.name} takes {what}", field=parameter.name)


def _number(parameter: Parameter, given: type_json) -> int | float | str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise _refuse(parameter, "a number")
    if given == "" and not parameter.required:
        return ""
    try:
        number = float(given)
    except ValueError:
        raise _refuse(
            parameter, f"a number{f' of {parameter.unit}' if parameter.unit else ''}; this is text"
        ) from None
    if number != number or number in (float("inf"), float("-inf")):
        raise _refuse(parameter, "a finite number")
    if isinstance(given, int):
        return given
    return int(number) if isinstance(given, str) and given.lstrip("+-").isdigit() else number


def _boolean(parameter: Parameter, given: type_json) -> bool:
    if isinstance(given, bool):
        return given
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    word = str(given).lower()
    if word not in words:
        raise _refuse(parameter, "true or false")
    return words[word]


def _choice(parameter: Parameter, given: type_json) -> str:
    if str(given) not in parameter.choices:
        raise _refuse(parameter, "one of " + ", ".join(parameter.choices))
    return str(given)


def _json(parameter: Parameter, given: str) -> type_json:
    try:
        return json.loads(given)
    except ValueError as error:
        raise _refuse(parameter, f"JSON; {error}") from None


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
