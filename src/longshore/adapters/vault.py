# SPDX-License-Identifier: Apache-2.0
"""Sealing with AES-256-GCM under one master key.

    sealed value = version (1 byte) | nonce (12 bytes, random) | ciphertext and tag

The version and the context are authenticated with it.
"""

import base64
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from longshore.adapters.disk import disk_errors, sync_directory, write_all
from longshore.domain.errors import Unavailable
from longshore.domain.secret import Plaintext

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


class MasterKeyVault:
    """Implements ports.vault.Vault."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Unavailable(f"a master key takes {KEY_BYTES} bytes; this one has {len(key)}")
        self._cipher = AESGCM(key)

    @classmethod
    def from_text(cls, text: str) -> "MasterKeyVault":
        """With a key in base64 or hexadecimal."""
        return cls(_key(text, "the master key"))

    @classmethod
    def from_file(cls, path: Path) -> "MasterKeyVault":
        """With the key in a file, made when there is none yet; raises Unavailable for one that others may
        read or that does not hold a key."""
        with disk_errors(f"use the master key in {path}"):
            if not path.exists():
                _make(path)
            return cls(_key(_read(path), f"the content of {path}"))

    def seal(self, value: Plaintext, *, context: str) -> bytes:
        """A fresh nonce each time: the same value never looks the same."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = value.reveal().encode("utf-8", "surrogatepass")
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _bound(context))

    def open(self, sealed: bytes, *, context: str) -> Plaintext:
        """Whole and in its place, or not at all."""
        if sealed[:1] != _VERSION:
            raise Unavailable(
                f"the secret {context} was sealed in a way that this version does not know;"
                " update Longshore, or put the secret again"
            )
        nonce, box = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, box, _bound(context))
        except (InvalidTag, ValueError):
            raise Unavailable(
                f"the secret {context} does not open: it was sealed with another master key, or for another"
                " place; start the server with the key it was sealed with, or put the secret again"
            ) from None
        return Plaintext(plain.decode("utf-8", "surrogatepass"))


def _bound(context: str) -> bytes:
    return _VERSION + context.encode("utf-8", "surrogatepass")


def _key(text: str, what: str) -> bytes:
    """The key that a text spells; the text itself never gets into the error."""
    word = text.strip().translate(_STANDARD)
    try:
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else _base64(word)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Unavailable(
            f"{what} is not a key: it takes {KEY_BYTES} bytes in base64 or hexadecimal,"
            " such as `openssl rand -base64 32` prints"
        )
    return key


def _base64(word: str) -> bytes:
    bare = word.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


_STANDARD = str.maketrans("-_", "+/")


def _make(path: Path) -> None:
    """Write a new key. It is whole and durable before it has its name, and of two processes that do this
    at once one wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(fd, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n", 0)
        os.fsync(fd)
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        os.close(fd)
        temporary.unlink()
    sync_directory(path.parent)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Unavailable(f"the master key {path} is not a file")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Unavailable(f"the master key {path} may be read by others; run: chmod 600 {path}")
        return file.read(1024).decode("ascii", "replace")
