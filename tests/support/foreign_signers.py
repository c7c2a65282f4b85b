"""The senders' own libraries sign webhooks, in Python and in JavaScript; those without one as their pages describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl

import standardwebhooks
from slack_sdk.signature import SignatureVerifier
from stripe import WebhookSignature
from twilio.request_validator import RequestValidator

from support.lazily import lazily
from support.node_signing import signed_in_javascript

if TYPE_CHECKING:
    import svix.webhooks
else:
    svix = lazily("svix")


@dataclass(frozen=True)
class Unsigned:
    """What is to be signed. `delivery_id`: of senders that have it in a header."""

    url: str
    body: str
    secret: str = field(repr=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    delivery_id: str = "msg_1"

    @property
    def seconds(self) -> str:
        return str(int(self.now.timestamp()))


Sign: TypeAlias = Callable[[Unsigned], dict[str, str]]
"""Returns the headers that prove who sends it."""


def _slack(request: Unsigned) -> dict[str, str]:
    signature = SignatureVerifier(request.secret).generate_signature(timestamp=request.seconds, body=request.body)
    return {"X-Slack-Request-Timestamp": request.seconds, "X-Slack-Signature": str(signature)}


def _stripe(request: Unsigned) -> dict[str, str]:
    seconds = int(request.seconds)
    header = WebhookSignature.generate_signature_header(request.body, request.secret, timestamp=seconds)
    return {"Stripe-Signature": header}


def _twilio(request: Unsigned) -> dict[str, str]:
    fields = dict(parse_qsl(request.body, keep_blank_values=True))
    return {"X-Twilio-Signature": RequestValidator(request.secret).compute_signature(request.url, fields)}


def _standard(request: Unsigned) -> dict[str, str]:
    signature = standardwebhooks.Webhook(request.secret).sign(request.delivery_id, request.now, request.body)
    return _with_prefix("webhook", request, signature)


def _svix(request: Unsigned) -> dict[str, str]:
    signature = svix.webhooks.Webhook(request.secret).sign(request.delivery_id, request.now, request.body)
    return _with_prefix("svix", request, signature)


def _with_prefix(prefix: str, request: Unsigned, signature: str) -> dict[str, str]:
    values = {"id": request.delivery_id, "timestamp": request.seconds, "signature": signature}
    return {f"{prefix}-{name}": value for name, value in values.items()}


def _javascript(name: str) -> Sign:
    def sign(request: Unsigned) -> dict[str, str]:
        case = {
            "sender": name,
            "secret": request.secret,
            "seconds": request.seconds,
            "body": request.body,
            "id": request.delivery_id,
        }
        [result] = signed_in_javascript([case])
        return dict(result["headers"])

    return sign


def _bearer(request: Unsigned) -> dict[str, str]:
    return {"Authorization": f"Bearer {request.secret}", "Idempotency-Key": request.delivery_id}


def _telegram(request: Unsigned) -> dict[str, str]:
    return {"X-Telegram-Bot-Api-Secret-Token": request.secret}


FOREIGN: Final[Mapping[str, tuple[str, Sign]]] = {
    "slack": ("slack", _slack),
    "stripe": ("stripe", _stripe),
    "twilio": ("twilio", _twilio),
    "standardwebhooks": ("standard", _standard),
    "svix": ("standard", _svix),
    "generic in JavaScript": ("generic", _javascript("generic")),
    "octokit": ("github", _javascript("github")),
    "discord-interactions": ("discord", _javascript("discord")),
    "standardwebhooks in JavaScript": ("standard", _javascript("standard")),
    "v1a in JavaScript": ("standard-v1a", _javascript("standard-v1a")),
}
"""Each with the party of `support.hooks` that it signs for."""
PLAIN: Final[Mapping[str, tuple[str, Sign]]] = {
    "a token": ("bearer", _bearer),
    "Telegram's token": ("telegram", _telegram),
    # Meta signs as GitHub does.
    "octokit for WhatsApp": ("whatsapp", _javascript("github")),
}
"""Those for which nobody has published a library that signs."""
