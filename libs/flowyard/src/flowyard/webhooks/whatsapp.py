"""WhatsApp, by the Cloud API of Meta:
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowyard.errors.requests import InvalidRequest
from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.github import PREFIX, SIGNATURE, verify_body
from flowyard.webhooks.payloads import objects, read_id, read_payload
from flowyard.webhooks.request import Answer, HookDelivery, HookRequest
from flowyard.webhooks.signatures import hmac_hex, require_texts, require_token


@dataclass(frozen=True, slots=True)
class WhatsApp:
    """`secrets`: of the app, for what is posted. `verify_tokens`: for the GET by which Meta looks who is there."""

    secrets: tuple[str, ...] = field(repr=False)
    verify_tokens: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        require_texts(self.secrets)
        require_texts(self.verify_tokens)

    def verify(self, request: HookRequest, now: datetime) -> None:
        if request.method == "GET":
            token = request.parameter("hub.verify_token")
            if not token:
                raise Unverified("missing_token")
            require_token(token, self.verify_tokens)
        else:
            verify_body(request, self.secrets)

    def read(self, request: HookRequest) -> Answer | tuple[HookDelivery, ...]:
        """One delivery for each message of a request. That others were sent or read (`statuses`) starts nothing."""
        return _challenge(request) if request.method == "GET" else tuple(_messages(read_payload(request)))


def sign(request: HookRequest, *, secrets: tuple[str, ...], now: datetime, delivery_id: str) -> HookRequest:
    """The id isn't used: those of WhatsApp are in the body."""
    return request.with_headers((SIGNATURE, PREFIX + hmac_hex(secrets[0], request.body)))


def _challenge(request: HookRequest) -> Answer:
    challenge = request.parameter("hub.challenge")
    if request.parameter("hub.mode") != "subscribe" or challenge is None:
        message = "should have 'hub.mode' with the value 'subscribe', and a 'hub.challenge'"
        raise InvalidRequest([{"where": "query", "message": message}])
    return Answer(200, challenge.encode(), "text/plain")


def _messages(payload: Any) -> Iterator[HookDelivery]:
    for entry in objects(payload, "entry", where="body"):
        for change in objects(entry, "changes", where="body.entry"):
            yield from _of_change(change, account=entry.get("id"))


def _of_change(change: dict[str, Any], *, account: Any) -> Iterator[HookDelivery]:
    value: Any = change.get("value")
    if change.get("field") != "messages":
        return
    contacts = objects(value, "contacts", where="body.entry.changes.value")
    for message in objects(value, "messages", where="body.entry.changes.value"):
        sender = next((contact for contact in contacts if contact.get("wa_id") == message.get("from")), None)
        payload = {"account": account, "metadata": value.get("metadata"), "contact": sender, "message": message}
        yield HookDelivery(read_id(message, "id"), payload)
