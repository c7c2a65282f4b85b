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

With `too_old` and `too_new`, the signature is valid: the webhook was sent again, or the clocks differ.
"""


class Unverified(FlowyardError, code="unverified", status=401, title="The webhook isn't verified"):
    """A webhook has no valid proof of its sender. The message, which the sender gets, doesn't contain `reason`."""

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        super().__init__("the webhook isn't verified")


class UnusableWebhookSecret(
    FlowyardError, code="unusable_webhook_secret", status=422, title="The secret of a webhook can't be used"
):
    """The sender has no secrets of this form. `form`: the right one. The message doesn't show the secret."""

    def __init__(self, form: str) -> None:
        super().__init__(f"the secret of the webhook should be {form}")
