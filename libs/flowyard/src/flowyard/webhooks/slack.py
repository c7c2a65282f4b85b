"""Slack: https://docs.slack.dev/authentication/verifying-requests-from-slack"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.webhooks.payloads import read_id, read_payload
from flowyard.webhooks.request import Answer, HookDelivery, HookRequest, json_answer
from flowyard.webhooks.signatures import (
    hex_after,
    hmac_hex,
    read_seconds,
    require_match,
    require_recent,
    require_texts,
    seconds_of,
)

_TIMESTAMP: Final = "x-slack-request-timestamp"
_SIGNATURE: Final = "x-slack-signature"
_VERSION: Final = "v0"


@dataclass(frozen=True, slots=True)
class Slack:
    """Events in JSON; commands as a form; what people click as a form whose field `payload` is JSON.

    The id is that of an event, which each retry has, too, or of a command or click.
    """

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)

    def verify(self, request: HookRequest, now: datetime) -> None:
        signature = hex_after(f"{_VERSION}=", request.required(_SIGNATURE, "missing_signature"))
        timestamp = request.required(_TIMESTAMP, "missing_timestamp")
        seconds = read_seconds(timestamp)
        content = _signed_content(timestamp, request.body)
        require_match([signature], [hmac_hex(secret, content) for secret in self.secrets])
        require_recent(seconds, now)

    def read(self, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
        payload = read_payload(request, json_field="payload")
        if isinstance(payload, dict):
            if payload.get("type") == "url_verification":
                return json_answer({"challenge": payload.get("challenge")})
            # Slack looks now and then whether the certificate of a command's address is valid.
            if payload.get("ssl_check") == "1":
                return Answer(200)
        return (HookDelivery(read_id(payload, "event_id", "trigger_id"), payload),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """The id isn't used: those of Slack are in the body."""
    timestamp = seconds_of(now)
    digits = hmac_hex(secrets[0], _signed_content(timestamp, request.body))
    return request.with_headers((_TIMESTAMP, timestamp), (_SIGNATURE, f"{_VERSION}={digits}"))


def _signed_content(timestamp: str, body: bytes) -> bytes:
    return f"{_VERSION}:{timestamp}:".encode() + body
