# SPDX-License-Identifier: Apache-2.0
"""Secrets, and the references that stand for them in parameters and environment.

secret.NAME                    as a whole value
{{secret.NAME}}                anywhere inside a text
secret.{{secret.NAME}}         pasted by habit after "secret." was typed: the same thing
secret.{{NAME}}                the same
{{NAME}}                       as Carrier's copy button gives it: a reference where NAME is a secret
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from longshore.domain.ids import ProjectId

_NAME = r"[A-Za-z0-9_]{1,128}"
_WHOLE = re.compile(rf"\s*secret\.({_NAME})\s*")
_INSIDE = re.compile(
    rf"(?P<habit>(?<![\w.-])secret\.)?\{{\{{\s*(?P<explicit>secret\.)?(?P<name>{_NAME})\s*\}}\}}"
)


class Plaintext:
    """A secret's value in clear. It has no repr, no equality and no way into a log by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; every call of this is a place to audit."""
        return self._value

    def __repr__(self) -> str:
        return "Plaintext(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Plaintext is never pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A named, sealed value. A hidden one can be used and replaced but never shown again."""

    project_id: ProjectId
    name: str
    sealed: bytes
    hidden: bool
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A place in a text that names a secret. `explicit` ones must exist; `{{NAME}}` may be plain text."""

    name: str
    explicit: bool


def references(text: str) -> Iterator[Reference]:
    """Every reference in a text, in order."""
    whole = _WHOLE.fullmatch(text)
    if whole:
        yield Reference(name=whole[1], explicit=True)
        return
    for found in _INSIDE.finditer(text):
        yield Reference(name=found["name"], explicit=bool(found["explicit"] or found["habit"]))


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """The text with every reference that `lookup` knows replaced by its value; the rest stays as it is.

    A value is never searched for references again.
    """
    whole = _WHOLE.fullmatch(text)
    if whole:
        value = lookup(whole[1])
        return text if value is None else value

    def put(found: re.Match[str]) -> str:
        value = lookup(found["name"])
        return found[0] if value is None else value

    return _INSIDE.sub(put, text)
