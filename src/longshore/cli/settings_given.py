# SPDX-License-Identifier: Apache-2.0
"""The server's settings from options and the environment, or a sentence saying which one cannot be."""

from typing import Any

from pydantic import ValidationError

from longshore.cli.ending import Misused
from longshore.settings import Settings


def settings(**given: Any) -> Settings:
    """Settings, with the options that were given put over LONGSHORE_* and the defaults."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise Misused(f"the setting LONGSHORE_{name.upper()} cannot be used: {first['msg']}") from None
