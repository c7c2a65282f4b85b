"""Telegram: https://core.telegram.org/bots/api#sendmessage"""

from __future__ import annotations

from typing import Any, Final

from flowyard.chats.messages import ChatRefusal, ChatRequest, ReplyMessage, Target, json_request, part, refusal, word

BASE: Final = "https://api.telegram.org"
LIMIT: Final = 4096
MOST: Final = 10
_MESSAGES: Final = ("message", "edited_message", "channel_post", "edited_channel_post")


def target(payload: Any) -> Target | None:
    """The chat of a message, or of the message whose button was pressed."""
    places = [(name,) for name in _MESSAGES] + [("callback_query", "message")]
    message = next((each for place in places if (each := part(payload, *place)) is not None), None)
    chat, topic, number = part(message, "chat", "id"), part(message, "message_thread_id"), part(message, "message_id")
    if word(chat) is None:
        return None
    place: dict[str, Any] = {"chat": word(chat)}
    if part(message, "is_topic_message") is True and isinstance(topic, int):
        place["topic"] = topic
    if part(message, "chat", "type") != "private" and isinstance(number, int):
        place["message"] = number
    return place


def escape(text: str) -> str:
    """Without a `parse_mode`, a text is shown as it is."""
    return text


def request(message: ReplyMessage, base: str) -> ChatRequest:
    """In groups, the first message quotes the one that it answers."""
    body: dict[str, Any] = {"chat_id": message.target["chat"], "text": message.text}
    if "topic" in message.target:
        body["message_thread_id"] = message.target["topic"]
    if message.number == 0 and "message" in message.target:
        body["reply_parameters"] = {"message_id": message.target["message"], "allow_sending_without_reply": True}
    return json_request("POST", f"{base}/bot{message.token}/sendMessage", body)


def refused(status: int, answer: Any) -> ChatRefusal | None:
    if 200 <= status < 300 and part(answer, "ok") is True:
        return None
    return refusal(status, part(answer, "description"), retry_after_s=part(answer, "parameters", "retry_after"))
