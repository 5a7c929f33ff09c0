# SPDX-License-Identifier: Apache-2.0
"""Names for identities, and how a new one is made.

Every id is a UUID of version 7 in lower case: sortable by time of birth (keyset paging needs no second
column), and a run's id is a legal Lambda request id as it stands.
"""

import secrets
from datetime import datetime
from typing import NewType

ProjectId = NewType("ProjectId", str)
TaskId = NewType("TaskId", str)
RunId = NewType("RunId", str)
TokenId = NewType("TokenId", str)
InterceptorId = NewType("InterceptorId", str)
Digest = NewType("Digest", str)
"""sha256 of some bytes, 64 lower-case hexadecimal digits."""


def new_id(at: datetime) -> str:
    """A fresh UUIDv7 (RFC 9562, 5.7) whose time part is `at`, milliseconds."""
    milliseconds = int(at.timestamp() * 1000) & ((1 << 48) - 1)
    noise = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | noise & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
