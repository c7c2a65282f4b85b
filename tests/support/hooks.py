"""Senders of webhooks: each with its secrets, and a request that it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from flowyard.webhooks.discord import Discord
from flowyard.webhooks.generic import GenericBearer, GenericSigned
from flowyard.webhooks.github import GitHub
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.schemes import Scheme
from flowyard.webhooks.senders import Sender
from flowyard.webhooks.signing import SIGNERS
from flowyard.webhooks.slack import Slack
from flowyard.webhooks.standard import Standard
from flowyard.webhooks.stripe import Stripe
from flowyard.webhooks.telegram import Telegram
from flowyard.webhooks.twilio import Twilio
from flowyard.webhooks.whatsapp import WhatsApp

NOW: Final = datetime.fromtimestamp(1_700_000_000, UTC)
URL: Final = "https://flowyard.example/hooks/orders"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
SEED: Final = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
"""The private key of the first test of RFC 8032, and its public key."""
PUBLIC_KEY: Final = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SYMMETRIC: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ASYMMETRIC: Final = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
ASYMMETRIC_PUBLIC: Final = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@dataclass(frozen=True)
class Party:
    """`secret` signs, `scheme` verifies, `other` is of another sender."""

    sender: Sender
    secret: str
    scheme: Scheme
    other: Scheme

    def signed(self, request: HookRequest, now: datetime = NOW) -> HookRequest:
        return SIGNERS[self.sender](request, secrets=(self.secret,), now=now, delivery_id="msg_1")


PARTIES: Final = {
    "generic": Party("generic", "s3cret", GenericSigned(("s3cret",)), GenericSigned(("other",))),
    "bearer": Party("bearer", "s3cret", GenericBearer(("s3cret",)), GenericBearer(("other",))),
    "standard": Party("standard", SYMMETRIC, Standard((SYMMETRIC,)), Standard((SYMMETRIC + "BBBB",))),
    "standard-v1a": Party("standard", ASYMMETRIC, Standard((ASYMMETRIC_PUBLIC,)), Standard((SYMMETRIC,))),
    "github": Party("github", "s3cret", GitHub(("s3cret",)), GitHub(("other",))),
    "slack": Party("slack", "s3cret", Slack(("s3cret",)), Slack(("other",))),
    "stripe": Party("stripe", "whsec_a", Stripe(("whsec_a",)), Stripe(("whsec_b",))),
    "telegram": Party("telegram", "s3cret", Telegram(("s3cret",)), Telegram(("other",))),
    "whatsapp": Party("whatsapp", "s3cret", WhatsApp(("s3cret",), ("v",)), WhatsApp(("other",), ("v",))),
    "discord": Party("discord", SEED, Discord((PUBLIC_KEY,)), Discord((SEED,))),
    "twilio": Party("twilio", "s3cret", Twilio(("s3cret",)), Twilio(("other",))),
}
TIMED: Final = ("generic", "standard", "standard-v1a", "slack", "stripe", "discord")
"""Those that sign a time."""
OF_BODY: Final = (*TIMED, "github", "whatsapp", "twilio")
"""Those that sign the body."""


def post(body: bytes = b'{"id": "evt_1"}', *headers: tuple[str, str], url: str = URL, kind: str = JSON) -> HookRequest:
    return HookRequest("POST", url, (("content-type", kind), *headers), body)


def with_header(request: HookRequest, name: str, value: str) -> HookRequest:
    """The request with another value in this header."""
    return without(request, name).with_headers((name, value))


def without(request: HookRequest, name: str) -> HookRequest:
    kept = tuple((key, value) for key, value in request.headers if key != name)
    return HookRequest(request.method, request.url, kept, request.body)
