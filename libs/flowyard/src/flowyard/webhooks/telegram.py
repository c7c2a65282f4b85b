"""Telegram: https://core.telegram.org/bots/api#setwebhook"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowyard.errors.webhooks import UnusableWebhookSecret
from flowyard.webhooks.payloads import read_id, read_payload
from flowyard.webhooks.request import HookDelivery, HookRequest
from flowyard.webhooks.signatures import require_token

_TOKEN: Final = "x-telegram-bot-api-secret-token"  # noqa: S105  # a header's name
_FORM: Final = re.compile("[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class Telegram:
    """`tokens`: the `secret_token` of `setWebhook`, which Telegram sends with each update. It signs nothing."""

    tokens: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.tokens or not all(_FORM.fullmatch(token) for token in self.tokens):
            raise UnusableWebhookSecret("1 to 256 of the characters A-Z, a-z, 0-9, _ and -")

    def verify(self, request: HookRequest, now: datetime) -> None:
        require_token(request.required(_TOKEN, "missing_token"), self.tokens)

    def read(self, request: HookRequest) -> tuple[HookDelivery, ...]:
        payload = read_payload(request)
        return (HookDelivery(read_id(payload, "update_id"), payload),)


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """The id isn't used: that of Telegram is in the body."""
    return request.with_headers((_TOKEN, secrets[0]))
