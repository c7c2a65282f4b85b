"""Stripe: https://docs.stripe.com/webhooks/signature"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.payloads import read_id, read_payload
from flowyard.webhooks.request import HookDelivery, HookRequest
from flowyard.webhooks.signatures import (
    HEX_SHA256,
    hmac_hex,
    read_seconds,
    require_match,
    require_recent,
    require_texts,
    seconds_of,
)

_SIGNATURE: Final = "stripe-signature"


@dataclass(frozen=True, slots=True)
class Stripe:
    """`secrets`: the whole `whsec_…`, which isn't decoded. Of the schemes in the header only `v1` counts."""

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)

    def verify(self, request: HookRequest, now: datetime) -> None:
        items = [item.partition("=") for item in request.required(_SIGNATURE, "missing_signature").split(",")]
        timestamps, signatures = ([value for key, _, value in items if key == wanted] for wanted in ("t", "v1"))
        if not timestamps:
            raise Unverified("missing_timestamp")
        if len(timestamps) > 1:
            raise Unverified("malformed_timestamp")
        seconds = read_seconds(timestamps[0])
        if not signatures:
            raise Unverified("unsupported_signature")
        if not all(HEX_SHA256.fullmatch(signature) for signature in signatures):
            raise Unverified("malformed_signature")
        content = _signed_content(timestamps[0], request.body)
        require_match(signatures, [hmac_hex(secret, content) for secret in self.secrets])
        require_recent(seconds, now)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        payload = read_payload(request)
        return (HookDelivery(read_id(payload, "id"), payload),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """With all secrets, as Stripe does while one replaces another. The id isn't used: that of Stripe is in the body."""
    timestamp = seconds_of(now)
    content = _signed_content(timestamp, request.body)
    items = [f"t={timestamp}", *(f"v1={hmac_hex(secret, content)}" for secret in secrets)]
    return request.with_headers((_SIGNATURE, ",".join(items)))


def _signed_content(timestamp: str, body: bytes) -> bytes:
    return f"{timestamp}.".encode() + body
