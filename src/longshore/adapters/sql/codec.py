# SPDX-License-Identifier: Apache-2.0
"""Between domain values and columns."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from longshore.adapters.sql.errors import HALF_A_CHARACTER
from longshore.domain.errors import Invalid

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HALF = re.compile("[\ud800-\udfff]")

Row = Mapping[str, Any]
"""One row by column names: what the database gave, not yet a value of ours."""


def micros(at: datetime) -> int:
    """A time as a column has it."""
    return (at - _EPOCH) // _MICROSECOND


def maybe_micros(at: datetime | None) -> int | None:
    """The same for a time that may be missing."""
    return None if at is None else micros(at)


def time_of(value: int) -> datetime:
    """A column's time."""
    return _EPOCH + timedelta(microseconds=value)


def maybe_time_of(value: int | None) -> datetime | None:
    """The same for a time that may be missing."""
    return None if value is None else time_of(value)


def whole(text: str) -> str:
    """What a handler said, with U+FFFD for every half character.

    People are refused what no database can hold. A handler may say anything, and its run must end all the
    same.
    """
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def maybe_whole(text: str | None) -> str | None:
    """The same for a text that may be missing."""
    return None if text is None else whole(text)


class Json(Generic[T]):
    """A column of JSON text that holds values of one type."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def text(self, value: T) -> str:
        """The column's text; raises Invalid for what no database can hold."""
        if not value and isinstance(value, tuple | dict):
            return "[]" if isinstance(value, tuple) else "{}"
        try:
            return self._adapter.dump_json(value).decode()
        except PydanticSerializationError as error:
            raise Invalid(HALF_A_CHARACTER) from error

    def value(self, text: str) -> T:
        """The value again."""
        return self._adapter.validate_json(text)
