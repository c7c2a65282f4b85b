"""Slack:
https://docs.slack.dev/interactivity/handling-user-interaction#message_responses
https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

from typing import Any, Final

from flowyard.chats.messages import ChatRefusal, ChatRequest, ReplyMessage, Target, json_request, part, refusal, word

BASE: Final = "https://slack.com/api"
LIMIT: Final = 4000
"""As Slack recommends."""
MOST: Final = 5
"""So many messages a `response_url` takes."""
WINDOW_S: Final = 30 * 60.0
"""How long it takes them."""
_TRANSIENT: Final = frozenset({
    "fatal_error", "internal_error", "ratelimited", "rate_limited", "request_timeout", "service_unavailable",
})  # fmt: skip


def target(payload: Any) -> Target | None:
    """What commands and clicks name, `response_url`, and the channel of these and of events.

    An event's answer goes to its thread; outside of one it begins a thread, except in a direct message.
    """
    event = part(payload, "event")
    channels = part(event, "channel"), part(payload, "channel_id"), part(payload, "channel", "id")
    channel = next((text for each in channels if (text := word(each)) is not None), None)
    url = word(part(payload, "response_url"))
    if channel is None and url is None:
        return None
    thread = word(part(event, "thread_ts"))
    if thread is None and part(event, "channel_type") != "im":
        thread = word(part(event, "ts"))
    given = {"url": url, "channel": channel, "thread": thread}
    return {"chat": channel or "-"} | {name: value for name, value in given.items() if value is not None}


def is_of_a_bot(payload: Any) -> bool:
    """Our own messages come back as events: a run for each of them would go on for ever."""
    event = part(payload, "event")
    return part(event, "bot_id") is not None or part(event, "subtype") == "bot_message"


def escape(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text#escaping. So nobody is mentioned, too."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def request(message: ReplyMessage, base: str) -> ChatRequest | None:
    """None: there is no way to the chat, since a `response_url` is too old and no token was given."""
    body: dict[str, Any] = {"text": message.text, "mrkdwn": False}
    if "url" in message.target and not message.is_late:
        shown = {"response_type": "in_channel", "replace_original": False}
        return json_request("POST", message.target["url"], body | shown)
    if "channel" not in message.target or not message.token:
        return None
    body |= {"channel": message.target["channel"], "link_names": False}
    if "thread" in message.target:
        body["thread_ts"] = message.target["thread"]
    return json_request("POST", f"{base}/chat.postMessage", body, Authorization=f"Bearer {message.token}")


def refused(status: int, answer: Any) -> ChatRefusal | None:
    """`answer`: a text, or JSON with `ok`."""
    fault = part(answer, "error") if isinstance(answer, dict) else answer
    if 200 <= status < 300 and (not isinstance(answer, dict) or answer.get("ok") is True):
        return None
    if 200 <= status < 300:
        return refusal(status, fault, is_final=fault not in _TRANSIENT)
    return refusal(status, fault)
