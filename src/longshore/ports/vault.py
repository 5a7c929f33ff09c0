# SPDX-License-Identifier: Apache-2.0
"""Sealing of secret values. What comes out of `seal` may be stored anywhere."""

from typing import Protocol

from longshore.domain.secret import Plaintext


class Vault(Protocol):
    """A master key's two verbs. The context (project and name) is bound in: a sealed value that was moved to
    another row does not open there."""

    def seal(self, value: Plaintext, *, context: str) -> bytes:
        """Encrypt a value for one place."""
        ...

    def open(self, sealed: bytes, *, context: str) -> Plaintext:
        """The value again; raises Unavailable when key or context is not the one it was sealed with."""
        ...
