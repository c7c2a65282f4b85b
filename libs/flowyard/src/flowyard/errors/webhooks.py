"""Errors of webhooks: a request isn't verified, or a secret can't be used."""

from __future__ import annotations

from typing import Literal, TypeAlias

from flowyard.errors.base import FlowyardError

Reason: TypeAlias = Literal[
    "missing_signature",
    "missing_timestamp",
    "missing_id",
    "missing_token",
    "repeated_header",
    "repeated_parameter",
    "malformed_signature",
    "malformed_timestamp",
    "malformed_id",
    "malformed_url",
    "malformed_body",
    "unsupported_signature",
    "wrong_signature",
    "wrong_token",
    "wrong_body_digest",
    "too_old",
    "too_new",
]
"""Why a webhook isn't verified. These are stored: a reason may be added, but none is renamed.

`too_old` and `too_new` are those whose signature is valid: a replay, or clocks that differ.
"""


class Unverified(FlowyardError, code="unverified", status=401, title="The webhook isn't verified"):
    """A webhook isn't what its sender has signed. `reason` is for its owner; the message for the sender hides it."""

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        super().__init__("the webhook isn't verified")


class UnusableWebhookSecret(
    FlowyardError, code="unusable_webhook_secret", status=422, title="The secret of a webhook can't be used"
):
    """A secret isn't of the form that its sender gives out. `form`: what would be right. The secret isn't shown."""

    def __init__(self, form: str) -> None:
        super().__init__(f"the secret of the webhook should be {form}")
