# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong, as a tree.

LongshoreError
├── Invalid            what was sent is wrong: says what, with which thing, what would be right
│   ├── BadPackage     ... a zip that must not be kept; names the entry
│   └── TooLarge       ... more bytes than allowed
├── Unauthenticated    nobody known is calling
├── Forbidden          somebody known may not do this
├── NotFound           no such thing in this project (also: it is another project's)
├── Conflict           the thing is not in a state for this (name taken, in use, already over)
│   └── IllegalMove    ... a run's state table says no
└── Unavailable        try again later or mend the machine: no sandbox, no interceptor, store busy
    └── OutOfSpace     ... the disk is full
"""


class LongshoreError(Exception):
    """A failure with a sentence that its reader can act on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(LongshoreError):
    """What was sent is wrong. `field` names the member of the request, where there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BadPackage(Invalid):
    """A package that must not be kept. `entry` is the offending name inside the archive."""

    def __init__(self, message: str, *, entry: str | None = None) -> None:
        super().__init__(message, field="package")
        self.entry = entry


class TooLarge(Invalid):
    """More bytes than allowed; the sentence says the limit."""


class Unauthenticated(LongshoreError):
    """No credentials, or none that are known and in date."""


class Forbidden(LongshoreError):
    """The caller is known but its role does not reach this far."""


class NotFound(LongshoreError):
    """There is no such thing here, or it belongs to somebody else."""


class Conflict(LongshoreError):
    """The thing exists but is not in a state for this."""


class IllegalMove(Conflict):
    """A run was asked to take a step that its state table does not have."""


class Unavailable(LongshoreError):
    """Something needed is not there right now."""


class OutOfSpace(Unavailable):
    """A disk is full."""
