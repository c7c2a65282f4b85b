"""WhatsApp, by the Cloud API of Meta:
https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from flowyard.chats.messages import ChatRefusal, ChatRequest, ReplyMessage, Target, json_request, part, refusal, word

BASE: Final = "https://graph.facebook.com/v26.0"
LIMIT: Final = 4096
MOST: Final = 10
_TRANSIENT: Final = frozenset({1, 2, 4, 80_007, 130_429, 131_000, 131_016, 131_048, 131_056, 133_004})
"""Error codes of services that are busy, and of limits per time. Their status is often 400."""


def target(payload: Any) -> Target | None:
    """The person who has sent the message, from the business's number that it was sent to."""
    chat, number = word(part(payload, "message", "from")), word(part(payload, "metadata", "phone_number_id"))
    if chat is None or number is None:
        return None
    answered = word(part(payload, "message", "id"))
    return {"chat": chat, "number": number} | ({"message": answered} if answered is not None else {})


def escape(text: str) -> str:
    """WhatsApp has no way to escape: it shows `*word*` in bold, `_word_` in italics, `~word~` struck out."""
    return text


def request(message: ReplyMessage, base: str) -> ChatRequest:
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.target["chat"],
        "type": "text",
        "text": {"body": message.text, "preview_url": False},
    }
    if message.number == 0 and "message" in message.target:
        body["context"] = {"message_id": message.target["message"]}
    url = f"{base}/{quote(message.target['number'], safe='')}/messages"
    return json_request("POST", url, body, Authorization=f"Bearer {message.token}")


def refused(status: int, answer: Any) -> ChatRefusal | None:
    if 200 <= status < 300:
        return None
    code, error = part(answer, "error", "code"), part(answer, "error", "message")
    is_transient = code in _TRANSIENT or part(answer, "error", "is_transient") is True
    return refusal(status, error, is_final=False if is_transient else None)
