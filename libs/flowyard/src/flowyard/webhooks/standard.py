"""Standard Webhooks 1.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Symmetric signatures (`v1`, HMAC-SHA256) and asymmetric ones (`v1a`, Ed25519). Our own, since the library has no `v1a`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.errors.webhooks import UnusableWebhookSecret, Unverified
from flowyard.webhooks.ed25519 import KEY_BYTES, is_signed, signature_of
from flowyard.webhooks.payloads import read_payload
from flowyard.webhooks.request import HookDelivery, HookRequest
from flowyard.webhooks.signatures import is_empty, read_seconds, require_recent, seconds_of

SYMMETRIC: Final = "whsec_"
PUBLIC: Final = "whpk_"
PRIVATE: Final = "whsk_"
_FORM: Final = f"`{SYMMETRIC}` or `{PUBLIC}`, and then the key in Base64 (for `{PUBLIC}` {KEY_BYTES} bytes)"
_PRIVATE_FORM: Final = f"`{PRIVATE}` with the {KEY_BYTES} or {2 * KEY_BYTES} bytes of the key in Base64"
_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
"""Visible, and without the full stop that ends it in what is signed: else a part of the id could become the time."""
_MOST_SIGNATURES: Final = 10
_MOST_ASYMMETRIC: Final = 4
"""Each of these takes time for each key, and a stranger may send as many: 0.8 ms with a body of 256 kB."""
_V1: Final = re.compile("[A-Za-z0-9+/]{43}=")
_V1A: Final = re.compile("[A-Za-z0-9+/]{86}==")


@dataclass(frozen=True, slots=True)
class Standard:
    """`secrets`: `whsec_…` or `whpk_…`; without any prefix, it is a symmetric one.

    Headers are called `webhook-…`, or `svix-…` as by the company that the standard comes from.
    """

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secrets:
            raise UnusableWebhookSecret(_FORM)
        for secret in self.secrets:
            _key(secret)

    def verify(self, request: HookRequest, now: datetime) -> None:
        family = _family(request)
        delivery_id = request.required(f"{family}-id", "missing_id")
        timestamp = request.required(f"{family}-timestamp", "missing_timestamp")
        signatures = request.required(f"{family}-signature", "missing_signature").split(" ")
        if not _ID.fullmatch(delivery_id):
            raise Unverified("malformed_id")
        seconds = read_seconds(timestamp)
        self._require_match(signatures, _signed_content(delivery_id, timestamp, request.body))
        require_recent(seconds, now)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        return (HookDelivery(request.header(f"{_family(request)}-id"), read_payload(request)),)

    def _require_match(self, signatures: list[str], content: bytes) -> None:
        symmetric, asymmetric = (list(_of_version(signatures, version)) for version in ("v1", "v1a"))
        if len(signatures) > _MOST_SIGNATURES or len(asymmetric) > _MOST_ASYMMETRIC:
            raise Unverified("malformed_signature")
        if not symmetric and not asymmetric:
            raise Unverified("unsupported_signature")
        if not any(_matches(secret, content, symmetric, asymmetric) for secret in self.secrets):
            raise Unverified("wrong_signature")


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """Signs with all secrets: a receiver that knows any of them can verify it. `whsec_…`, or private keys `whsk_…`.

    Raises UnusableWebhookSecret, and ValueError for an id that receivers refuse.
    """
    if not _ID.fullmatch(delivery_id):
        raise ValueError(
            "the id of a webhook has to be visible, without a full stop and not longer than 256 characters"
        )
    timestamp = seconds_of(now)
    content = _signed_content(delivery_id, timestamp, request.body)
    return request.with_headers(
        ("webhook-id", delivery_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", " ".join(_signature(secret, content) for secret in secrets)),
    )


def _family(request: HookRequest) -> str:
    return "svix" if request.header("webhook-id") is None and request.header("svix-id") is not None else "webhook"


def _signed_content(delivery_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{delivery_id}.{timestamp}.".encode() + body


def _of_version(signatures: list[str], wanted: str) -> Iterator[str]:
    for signature in signatures:
        version, comma, text = signature.partition(",")
        if not comma:
            raise Unverified("malformed_signature")
        if version == wanted:
            yield text


def _matches(secret: str, content: bytes, symmetric: list[str], asymmetric: list[str]) -> bool:
    key = _key(secret)
    if secret.startswith(PUBLIC):
        return any(_V1A.fullmatch(text) and _is_signed(text, content, key) for text in asymmetric)
    right = base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    return any(hmac.compare_digest(text.encode(), right) for text in symmetric if _V1.fullmatch(text))


def _is_signed(text: str, content: bytes, key: bytes) -> bool:
    signature = base64.b64decode(text)
    # The last digit has bits without a meaning: one signature has one spelling.
    return base64.b64encode(signature).decode() == text and is_signed(content, signature, key)


def _signature(secret: str, content: bytes) -> str:
    if secret.startswith(PRIVATE):
        seed = _decoded(secret.removeprefix(PRIVATE))
        if len(seed) not in (KEY_BYTES, 2 * KEY_BYTES):
            raise UnusableWebhookSecret(_PRIVATE_FORM)
        return f"v1a,{base64.b64encode(signature_of(content, seed[:KEY_BYTES])).decode()}"
    if secret.startswith(PUBLIC):
        raise UnusableWebhookSecret(_PRIVATE_FORM)
    return f"v1,{base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()}"


def _key(secret: str) -> bytes:
    """The key that verifies. Raises UnusableWebhookSecret."""
    key = _decoded(secret.removeprefix(PUBLIC).removeprefix(SYMMETRIC))
    if is_empty(key) or secret.startswith(PRIVATE) or (secret.startswith(PUBLIC) and len(key) != KEY_BYTES):
        raise UnusableWebhookSecret(_FORM)
    return key


def _decoded(text: str) -> bytes:
    """Base64, with its padding or without. Nothing if it is none."""
    digits = text.rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        return b""
