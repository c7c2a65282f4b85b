"""The public key of a Discord application, as an author writes it into a document."""

from __future__ import annotations

from flowyard.errors.webhooks import UnusableWebhookSecret
from flowyard.webhooks.signatures import HEX_SHA256


def check_public_key(text: str) -> None:
    """Raises UnusableWebhookSecret."""
    if not HEX_SHA256.fullmatch(text):
        raise UnusableWebhookSecret("the public key of the application: 64 hexadecimal digits in lower case")
