"""All schemes of webhooks, and what is done with a request: it is verified, then read."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias, assert_never

from flowyard.webhooks.discord import Discord
from flowyard.webhooks.generic import GenericBearer, GenericOpen, GenericSigned
from flowyard.webhooks.github import GitHub
from flowyard.webhooks.request import Answer, HookDelivery, HookRequest
from flowyard.webhooks.senders import Sender
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import SYMMETRIC, Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.telegram import Telegram
from flowyard.webhooks.twilio import Twilio
from flowyard.webhooks.whatsapp import WhatsApp

Scheme: TypeAlias = (
    GenericSigned
    | GenericBearer
    | GenericOpen
    | Standard
    | GitHub
    | Slack
    | Stripe
    | Telegram
    | WhatsApp
    | Discord
    | Twilio
)
"""Any of their secrets may have signed a request, so that one can replace another. They raise UnusableWebhookSecret."""


def scheme_of(sender: Sender, secrets: tuple[str, ...], verify_tokens: tuple[str, ...] = ()) -> Scheme:
    """`secrets`: for Discord, the public keys. Raises UnusableWebhookSecret."""
    match sender:
        case "generic":
            return GenericSigned(secrets)
        case "bearer":
            return GenericBearer(secrets)
        case "standard":
            return Standard(secrets)
        case "github":
            return GitHub(secrets)
        case "slack":
            return Slack(secrets)
        case "stripe":
            return Stripe(secrets)
        case "telegram":
            return Telegram(secrets)
        case "whatsapp":
            return WhatsApp(secrets, verify_tokens)
        case "discord":
            return Discord(secrets)
        case "twilio":
            return Twilio(secrets)
        case _:
            assert_never(sender)


def read_unverified(sender: Sender, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
    """What a request of the sender becomes, whoever has sent it: to try something out. Raises InvalidRequest."""
    key = {"standard": f"{SYMMETRIC}bm9uZQ==", "discord": "0" * 64}.get(sender, "none")
    return scheme_of(sender, (key,), ("none",)).read(request)


def receive(scheme: Scheme, request: HookRequest, now: datetime) -> Answer | tuple[HookDelivery, ...]:
    """What a request has to be answered at once, or what can start runs: mostly one delivery, sometimes none or many.

    Raises Unverified, whatever the request may be, and InvalidRequest for a body that its sender has signed and nobody
    can read. A delivery without an id is to be recognized by its body.
    """
    scheme.verify(request, now)
    return scheme.read(request)
