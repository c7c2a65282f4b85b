"""GitHub: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.webhooks.payloads import read_payload, usable_id
from flowyard.webhooks.request import NOTHING, Answer, HookDelivery, HookRequest
from flowyard.webhooks.signatures import hex_after, hmac_hex, require_match, require_texts

SIGNATURE: Final = "x-hub-signature-256"
PREFIX: Final = "sha256="
_ID: Final = "x-github-delivery"


@dataclass(frozen=True, slots=True)
class GitHub:
    """GitHub signs neither a time nor the id. An event that somebody sends again, by hand, keeps its id."""

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)

    def verify(self, request: HookRequest, now: datetime) -> None:
        verify_body(request, self.secrets)

    def read(self, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
        # It only says that the webhook was set up.
        if request.header("x-github-event") == "ping":
            return NOTHING
        return (HookDelivery(usable_id(request.header(_ID)), read_payload(request, json_field="payload")),)


def verify_body(request: HookRequest, secrets: tuple[str, ...]) -> None:
    """The signature of GitHub, which Meta has, too. The older one, by SHA-1, is ignored."""
    signature = hex_after(PREFIX, request.required(SIGNATURE, "missing_signature"))
    require_match([signature], [hmac_hex(secret, request.body) for secret in secrets])


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """Without `X-GitHub-Event`, which only the caller knows."""
    return request.with_headers((_ID, delivery_id), (SIGNATURE, PREFIX + hmac_hex(secrets[0], request.body)))
