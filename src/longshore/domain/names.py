# SPDX-License-Identifier: Apache-2.0
"""Which names things may have. One rule a kind of thing, one sentence when it is broken."""

import re

from longshore.domain.errors import Invalid

_RULES: dict[str, tuple[re.Pattern[str], str]] = {
    "task": (re.compile(r"[A-Za-z0-9_-]{1,64}"), "1 to 64 letters, digits, hyphens and underscores"),
    "project": (re.compile(r"[a-z0-9][a-z0-9-]{0,62}"), "1 to 63 lower-case letters, digits and hyphens"),
    "secret": (re.compile(r"[A-Za-z0-9_]{1,128}"), "1 to 128 letters, digits and underscores"),
    "parameter": (
        re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}"),
        "a letter or underscore, then up to 127 letters, digits and underscores",
    ),
    "environment variable": (
        re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}"),
        "a letter or underscore, then up to 127 letters, digits and underscores",
    ),
    "bucket": (
        re.compile(r"[a-z0-9][a-z0-9._-]{0,62}"),
        "1 to 63 lower-case letters, digits, dots, hyphens and underscores, beginning with a letter or digit",
    ),
    "location": (
        re.compile(r"[a-z0-9][a-z0-9-]{0,62}"),
        "1 to 63 lower-case letters, digits and hyphens",
    ),
    "token": (re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}"), "1 to 100 printable characters"),
}
MAX_KEY_BYTES = 1024
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters that no UTF-8 can hold."""


def checked(kind: str, name: str, *, field: str = "name") -> str:
    """`name` itself when it is a legal name of that `kind`; raises Invalid with the rule otherwise."""
    pattern, words = _RULES[kind]
    if not pattern.fullmatch(name):
        raise Invalid(f"{name[:80]!r} is not a name for a {kind}: it takes {words}", field=field)
    return name


def checked_key(key: str) -> str:
    """An artifact's key: 1 to 1024 bytes of UTF-8, no control characters, no empty, `.` or `..` segment.

    Keys are data and never become paths; the rule keeps them typable, printable and safe to download.
    """
    if not key or len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        raise Invalid(f"an artifact's key takes 1 to {MAX_KEY_BYTES} bytes", field="key")
    if _UNPRINTABLE.search(key):
        raise Invalid(f"the key {key[:80]!r} has a control character", field="key")
    if any(segment in ("", ".", "..") for segment in key.split("/")):
        raise Invalid(
            f"the key {key[:80]!r} has an empty, '.' or '..' segment between its slashes", field="key"
        )
    return key
