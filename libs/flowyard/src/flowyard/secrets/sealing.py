"""Encrypts secret inputs before they are stored. Only services that need the key have it.

A sealed value is a text: `flowyard-sealed:1:`, the key's name, and XChaCha20-Poly1305's nonce and ciphertext in
Base64 (https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305/xchacha20-poly1305_construction). It is
bound to its workflow and field: it can't be opened for another one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flowyard.errors.runs import UnreadableSecret
from flowyard.secrets.masking import SEALED

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 24
_NAME_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class _Key:
    """`name` identifies the key that has sealed a value, without revealing it."""

    name: str
    sealing: bytes = field(repr=False)
    marking: bytes = field(repr=False)


class SecretBox:
    """Seals with the first of its keys, opens with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [_derived(key) for key in keys]

    def seal(self, value: str, *, workflow: str, name: str) -> str:
        """Seals the value of a workflow's field `name`. The same value gives another text each time."""
        # Imported here: a process that seals and opens nothing needn't have the library.
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt  # noqa: PLC0415

        key, nonce = self._keys[0], secrets.token_bytes(_NONCE_BYTES)
        sealed = encrypt(value.encode(errors="surrogatepass"), _associated_data(workflow, name), nonce, key.sealing)
        return f"{SEALED}{key.name}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, value: str, *, workflow: str, name: str) -> str:
        """Raises UnreadableSecret."""
        # Imported here: see `seal`.
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt  # noqa: PLC0415
        from nacl.exceptions import CryptoError  # noqa: PLC0415

        key_name, _, text = value.removeprefix(SEALED).partition(":")
        key = next((key for key in self._keys if key.name == key_name), None)
        if key is None or not value.startswith(SEALED):
            raise UnreadableSecret(name, reason="it was sealed under another key")
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            plain = decrypt(data[_NONCE_BYTES:], _associated_data(workflow, name), data[:_NONCE_BYTES], key.sealing)
            return plain.decode(errors="surrogatepass")
        except (ValueError, CryptoError):
            raise UnreadableSecret(name, reason="it was changed, or belongs to another field") from None

    def marks(self, data: bytes) -> list[bytes]:
        """Keyed fingerprints (HMAC-SHA-256) of `data`, one per key. The first one is of the key that seals."""
        return [hmac.digest(key.marking, data, hashlib.sha256) for key in self._keys]


def read_keys(text: str) -> list[bytes]:
    """The keys in a list separated by commas, each 32 bytes in Base64. Raises ValueError."""
    keys = []
    for part in text.split(","):
        plain = part.strip().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            # The message doesn't contain the text, which may be most of a key.
            raise ValueError(f"should be {KEY_BYTES} random bytes in Base64, as `openssl rand -base64 32` makes them")
        keys.append(key)
    return keys


def new_key() -> str:
    """A new random key, in the format of `read_keys`."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def secret_box(text: str) -> SecretBox | None:
    """`text`: as for `read_keys`; None if it is empty."""
    return SecretBox(read_keys(text)) if text else None


def _derived(key: bytes) -> _Key:
    name, sealing, marking = (hmac.digest(key, f"flowyard {use}".encode(), hashlib.sha256) for use in _USES)
    return _Key(name.hex()[:_NAME_DIGITS], sealing, marking)


_USES: Final = ("name", "sealing", "marking")


def _associated_data(workflow: str, name: str) -> bytes:
    return f"{workflow}\0{name}".encode(errors="surrogatepass")
