"""Discord:
https://discord.com/developers/docs/interactions/receiving-and-responding#followup-messages
https://discord.com/developers/docs/resources/message#create-message
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from flowyard.chats.messages import ChatRefusal, ChatRequest, ReplyMessage, Target, json_request, part, refusal, word

BASE: Final = "https://discord.com/api/v10"
LIMIT: Final = 2000
MOST: Final = 10
WINDOW_S: Final = 15 * 60.0
"""How long an interaction's token is valid."""
_AGENT: Final = "DiscordBot (Flowyard, 1.0)"
"""Discord may refuse agents of another form."""
_NOT_YET: Final = frozenset({10_008, 10_015})
"""Unknown message, unknown webhook: the response that is to be edited hasn't arrived yet."""
_MARKS: Final = re.compile(r"(https?://[^\s<>]+)|([\\`*_~|<>\[\]()#:@+-])")


def target(payload: Any) -> Target | None:
    """The interaction, and its channel. An event of the application has no chat."""
    application, token = word(part(payload, "application_id")), word(part(payload, "token"))
    if application is None or token is None:
        return None
    channel = word(part(payload, "channel_id")) or word(part(payload, "channel", "id"))
    place = {"chat": channel or "-", "application": application, "interaction": token}
    return place | ({"channel": channel} if channel is not None else {})


def escape(text: str) -> str:
    """What would be read as Markdown or as a mention. In a link it would be a part of the address."""
    return _MARKS.sub(lambda match: match[1] or f"\\{match[2]}", text)


def request(message: ReplyMessage, base: str) -> ChatRequest | None:
    """The first message takes the place of the deferred response. None: it is too late, and no token was given."""
    body: dict[str, Any] = {"content": message.text, "allowed_mentions": {"parse": []}}
    if message.is_late:
        if "channel" not in message.target or not message.token:
            return None
        url = f"{base}/channels/{quote(message.target['channel'], safe='')}/messages"
        return json_request("POST", url, body, **{"Authorization": f"Bot {message.token}", "User-Agent": _AGENT})
    parts = (quote(message.target[name], safe="") for name in ("application", "interaction"))
    url = f"{base}/webhooks/{'/'.join(parts)}"
    if message.number == 0:
        return json_request("PATCH", f"{url}/messages/@original", body, **{"User-Agent": _AGENT})
    return json_request("POST", url, body, **{"User-Agent": _AGENT})


def refused(status: int, answer: Any) -> ChatRefusal | None:
    if 200 <= status < 300:
        return None
    is_final = False if part(answer, "code") in _NOT_YET else None
    after = part(answer, "retry_after")
    return refusal(status, part(answer, "message"), is_final=is_final, retry_after_s=after)
