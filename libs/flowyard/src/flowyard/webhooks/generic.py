"""Senders without a scheme of their own: a signature over time and body, a bearer token, or nothing.

Signed, a request has two headers:

    X-Webhook-Timestamp: 1700000000
    X-Webhook-Signature: sha256=<HMAC-SHA256 of `<timestamp>.<body>`, 64 digits in lower case>
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.payloads import read_payload, usable_id
from flowyard.webhooks.request import HookDelivery, HookRequest
from flowyard.webhooks.signatures import (
    hex_after,
    hmac_hex,
    read_seconds,
    require_match,
    require_recent,
    require_texts,
    require_token,
    seconds_of,
)

_TIMESTAMP: Final = "x-webhook-timestamp"
_SIGNATURE: Final = "x-webhook-signature"
_PREFIX: Final = "sha256="


@dataclass(frozen=True, slots=True)
class GenericSigned:
    """The id of a delivery is its signature: the same body at another time is another delivery, a replay is none."""

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)

    def verify(self, request: HookRequest, now: datetime) -> None:
        signature = hex_after(_PREFIX, request.required(_SIGNATURE, "missing_signature"))
        timestamp = request.required(_TIMESTAMP, "missing_timestamp")
        seconds = read_seconds(timestamp)
        content = _signed_content(timestamp, request.body)
        require_match([signature], [hmac_hex(secret, content) for secret in self.secrets])
        require_recent(seconds, now)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        return (HookDelivery(request.header(_SIGNATURE), read_payload(request)),)


@dataclass(frozen=True, slots=True)
class GenericBearer:
    """`Authorization: Bearer <token>`. The id of a delivery is the header `Idempotency-Key`, if the sender has it."""

    tokens: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.tokens)

    def verify(self, request: HookRequest, now: datetime) -> None:
        scheme, _, token = request.required("authorization", "missing_token").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unverified("missing_token")
        require_token(token, self.tokens)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        return (HookDelivery(usable_id(request.header("idempotency-key")), read_payload(request)),)


@dataclass(frozen=True, slots=True)
class GenericOpen:
    """Everybody may send. The id of a delivery is the header `Idempotency-Key`, if the sender has it."""

    def verify(self, request: HookRequest, now: datetime) -> None:
        """Accepts each request."""

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        return (HookDelivery(usable_id(request.header("idempotency-key")), read_payload(request)),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    timestamp = seconds_of(now)
    digits = hmac_hex(secrets[0], _signed_content(timestamp, request.body))
    return request.with_headers((_TIMESTAMP, timestamp), (_SIGNATURE, f"{_PREFIX}{digits}"))


def sign_bearer(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    return request.with_headers(("authorization", f"Bearer {secrets[0]}"), ("idempotency-key", delivery_id))


def _signed_content(timestamp: str, body: bytes) -> bytes:
    return f"{timestamp}.".encode() + body
