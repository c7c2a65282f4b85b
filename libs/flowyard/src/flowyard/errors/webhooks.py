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


class MissingWebhookSecret(
    FlowyardError, code="missing_webhook_secret", status=422, title="There is no secret to sign a webhook with"
):
    """A webhook can't be sent, because its secret isn't there. `what`: the reference or the setting."""

    def __init__(self, what: str) -> None:
        super().__init__(f"nothing can sign the webhook: {what}")


class UnusableWebhookSecret(
    FlowyardError, code="unusable_webhook_secret", status=422, title="The secret of a webhook can't be used"
):
    """The sender has no secrets of this form. `form`: the right one. The message doesn't show the secret."""

    def __init__(self, form: str) -> None:
        super().__init__(f"the secret of the webhook should be {form}")


class HookNotReady(FlowyardError, code="hook_not_ready", status=503, title="The webhook can't be verified now"):
    """A webhook's secret is missing or unusable. The sender isn't told which: `reason` is for the owner's record."""

    retry_after = 60.0

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("the webhook can't be verified now: its secret isn't there")


class TriggerPaused(FlowyardError, code="trigger_paused", status=503, title="The trigger is paused"):
    """A trigger is paused, or disabled by its document. What came is recorded."""

    retry_after = 300.0

    def __init__(self) -> None:
        super().__init__("the trigger is paused: try again later")


class TooManyDeliveries(FlowyardError, code="too_many_deliveries", status=429, title="Too many deliveries"):
    """More requests came than the trigger's limit allows."""

    def __init__(self, *, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__("more requests than this webhook allows: try again later")


class NotMapped(FlowyardError, code="not_mapped", status=422, title="The event doesn't become the inputs of a run"):
    """An event lacks what the trigger names, or its values don't fit the workflow's inputs."""


class PayloadNotKept(FlowyardError, code="payload_not_kept", status=409, title="The payload wasn't kept"):
    """A delivery can't be replayed: it was too large to be kept, or wasn't verified."""

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"the payload of the delivery '{delivery_id}' wasn't kept: it was too large, or not verified")
