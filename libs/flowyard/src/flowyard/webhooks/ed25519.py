"""Signatures by Ed25519 (RFC 8032). The only file of this room that knows libsodium."""

from __future__ import annotations

from typing import Final

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def is_signed(content: bytes, signature: bytes, public_key: bytes) -> bool:
    # Imported here: a process that verifies nothing needn't have the library.
    from nacl.bindings import crypto_sign_open  # noqa: PLC0415
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415

    try:
        crypto_sign_open(signature + content, public_key)
    except BadSignatureError:
        return False
    return True


def signature_of(content: bytes, seed: bytes) -> bytes:
    """`seed`: the 32 bytes that a private key is made from."""
    # Imported here: see `is_signed`.
    from nacl.bindings import crypto_sign, crypto_sign_seed_keypair  # noqa: PLC0415

    _, private_key = crypto_sign_seed_keypair(seed)
    return crypto_sign(content, private_key)[:SIGNATURE_BYTES]
