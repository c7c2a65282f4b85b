"""Discord: https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flowyard.errors.webhooks import UnusableWebhookSecret, Unverified
from flowyard.webhooks.ed25519 import is_signed, signature_of
from flowyard.webhooks.payloads import read_id, read_payload
from flowyard.webhooks.public_keys import check_public_key
from flowyard.webhooks.request import NOTHING, Answer, HookDelivery, HookRequest, json_answer
from flowyard.webhooks.signatures import HEX_SHA256, read_seconds, require_recent, seconds_of

_TIMESTAMP: Final = "x-signature-timestamp"
_SIGNATURE: Final = "x-signature-ed25519"
_HEX: Final = re.compile("[0-9a-f]{128}")
_PING: Final = 1
_EVENT_PING: Final = 0


@dataclass(frozen=True, slots=True)
class Discord:
    """`public_keys`: of the application, in hexadecimal digits. Reads interactions, and events of the application."""

    public_keys: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in self.public_keys or ("",):
            check_public_key(key)

    def verify(self, request: HookRequest, now: datetime) -> None:
        signature = request.required(_SIGNATURE, "missing_signature")
        timestamp = request.required(_TIMESTAMP, "missing_timestamp")
        if not _HEX.fullmatch(signature):
            raise Unverified("malformed_signature")
        seconds = read_seconds(timestamp)
        content = timestamp.encode() + request.body
        if not any(is_signed(content, bytes.fromhex(signature), bytes.fromhex(key)) for key in self.public_keys):
            raise Unverified("wrong_signature")
        require_recent(seconds, now)

    def read(self, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
        payload = read_payload(request)
        if isinstance(payload, dict):
            kind = payload.get("type")
            # An event of the application has the type 1, too.
            if kind == _PING and "event" not in payload:
                return json_answer({"type": _PING})
            if kind == _EVENT_PING:
                return NOTHING
        return (HookDelivery(read_id(payload, "id"), payload),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """`secrets`: the 32 bytes of a private key in hexadecimal digits. The id isn't used: Discord's is in the body."""
    if not HEX_SHA256.fullmatch(secrets[0]):
        raise UnusableWebhookSecret("a private key: 64 hexadecimal digits in lower case")
    timestamp = seconds_of(now)
    signature = signature_of(timestamp.encode() + request.body, bytes.fromhex(secrets[0]))
    return request.with_headers((_TIMESTAMP, timestamp), (_SIGNATURE, signature.hex()))
