# SPDX-License-Identifier: Apache-2.0
"""JSON as its RFC has it, and only as deep as everything behind here can follow.

Python's own reader takes more: NaN, numbers that overflow to infinity, the same member twice, halves of
surrogate pairs that no database can store. Each would surface far from here, as somebody else's error.
"""

import json
import re
from collections.abc import Iterable

from longshore.domain.parameters import MAX_EVENT_DEPTH, type_json
from longshore.domain.strict_json import finite, no_constant

MAX_DEPTH = MAX_EVENT_DEPTH + 1
"""An event and the object around it; well below what serializers follow (255)."""
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def strict_json(text: str) -> type_json:
    """The value; raises ValueError with a sentence that says what is wrong with it."""
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=no_constant, parse_float=finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if _HALF_PAIR.search(text):
        _check_text(value)
    return value


_TOO_DEEP = f"JSON is nested too deeply; at most {MAX_DEPTH} levels are allowed"


def _members(pairs: list[tuple[str, type_json]]) -> dict[str, type_json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {twice[:80]!r} is there twice")
    return members


def _check_depth(value: type_json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _inside(value: type_json) -> Iterable[type_json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_text(value: type_json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text has half of a surrogate pair, which is no character") from None
