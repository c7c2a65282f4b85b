"""Signs a webhook as its sender does: those of our own, and those that try a workflow out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from flowyard.webhooks import discord, generic, github, slack, standard, stripe, telegram, twilio, whatsapp
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.senders import Sender


class Signer(Protocol):
    """Returns the request with what proves its sender: headers, for Twilio perhaps also a field of the URL.

    `secrets`: one at least. The first one signs, or all of them if the scheme allows it.
    """

    def __call__(
        self, request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str
    ) -> HookRequest: ...


SIGNERS: Final[Mapping[Sender, Signer]] = {
    "generic": generic.sign,
    "bearer": generic.sign_bearer,
    "standard": standard.sign,
    "github": github.sign,
    "slack": slack.sign,
    "stripe": stripe.sign,
    "telegram": telegram.sign,
    "whatsapp": whatsapp.sign,
    "discord": discord.sign,
    "twilio": twilio.sign,
}
