"""All schemes of webhooks, and what is done with a request: it is verified, then read."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from flowyard.webhooks.discord import Discord
from flowyard.webhooks.generic import GenericBearer, GenericSigned
from flowyard.webhooks.github import GitHub
from flowyard.webhooks.request import Answer, Delivery, HookRequest
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.telegram import Telegram
from flowyard.webhooks.twilio import Twilio
from flowyard.webhooks.whatsapp import WhatsApp

Scheme: TypeAlias = (
    GenericSigned | GenericBearer | Standard | GitHub | Slack | Stripe | Telegram | WhatsApp | Discord | Twilio
)
"""Any of their secrets may have signed a request, so that one can replace another. They raise UnusableWebhookSecret."""


def receive(scheme: Scheme, request: HookRequest, now: datetime) -> Answer | tuple[Delivery, ...]:
    """What a request has to be answered at once, or what can start runs: mostly one delivery, sometimes none or many.

    Raises Unverified, whatever the request may be, and InvalidRequest for a body that its sender has signed and nobody
    can read. A delivery without an id is to be recognized by its body.
    """
    scheme.verify(request, now)
    return scheme.read(request)
