# SPDX-License-Identifier: Apache-2.0
"""What RFC 8259 does not have and Python's reader takes all the same: hooks for json.loads that refuse it."""

import math
from typing import NoReturn


def no_constant(word: str) -> NoReturn:
    """For `parse_constant`: NaN and the infinities are no JSON values."""
    raise ValueError(f"{word} is not a JSON value")


def finite(digits: str) -> float:
    """For `parse_float`: a number too large for a float would become an infinity."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number
