"""The platforms of chats, each with what the others have, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from flowyard.chats import discord, slack, telegram, whatsapp
from flowyard.chats.messages import ChatRefusal, ChatRequest, ReplyMessage, Target
from flowyard.chats.splitting import split_text

Chat: TypeAlias = Literal["telegram", "whatsapp", "slack", "discord"]
CHATS: Final[tuple[Chat, ...]] = get_args(Chat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """`limit`: of a message, in units of UTF-16. `most`: messages of one reply.

    `needs_token`: whether nothing can be sent without one. `window_s`: how long what was received can be answered
    directly; None: that is always done by the chat.
    """

    base: str
    limit: int
    most: int
    needs_token: bool
    window_s: float | None
    target: Callable[[Any], Target | None]
    escape: Callable[[str], str]
    request: Callable[[ReplyMessage, str], ChatRequest | None]
    refused: Callable[[int, Any], ChatRefusal | None]

    def split(self, text: str) -> list[str]:
        return split_text(text, limit=self.limit, most=self.most, escape=self.escape)

    def refusal(self, status: int, body: bytes) -> ChatRefusal | None:
        """What the answer says; None: the message was taken."""
        text = body.decode(errors="replace")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = text
        return self.refused(status, answer)


PLATFORMS: Final[Mapping[Chat, Platform]] = {
    "telegram": Platform(
        base=telegram.BASE,
        limit=telegram.LIMIT,
        most=telegram.MOST,
        needs_token=True,
        window_s=None,
        target=telegram.target,
        escape=telegram.escape,
        request=telegram.request,
        refused=telegram.refused,
    ),
    "whatsapp": Platform(
        base=whatsapp.BASE,
        limit=whatsapp.LIMIT,
        most=whatsapp.MOST,
        needs_token=True,
        window_s=None,
        target=whatsapp.target,
        escape=whatsapp.escape,
        request=whatsapp.request,
        refused=whatsapp.refused,
    ),
    "slack": Platform(
        base=slack.BASE,
        limit=slack.LIMIT,
        most=slack.MOST,
        needs_token=False,
        window_s=slack.WINDOW_S,
        target=slack.target,
        escape=slack.escape,
        request=slack.request,
        refused=slack.refused,
    ),
    "discord": Platform(
        base=discord.BASE,
        limit=discord.LIMIT,
        most=discord.MOST,
        needs_token=False,
        window_s=discord.WINDOW_S,
        target=discord.target,
        escape=discord.escape,
        request=discord.request,
        refused=discord.refused,
    ),
}


def chat_of(sender: str) -> Chat | None:
    """The chat that webhooks of this sender come from; None if they come from none."""
    return next((chat for chat in CHATS if chat == sender), None)


def read_bases(text: str | Mapping[Chat, str]) -> Mapping[Chat, str]:
    """`FLOWYARD_CHAT_URLS`: `telegram=http://…`, separated by blanks or commas. Raises ValueError."""
    if not isinstance(text, str):
        return text
    bases: dict[Chat, str] = {}
    for item in text.replace(",", " ").split():
        name, equals, url = item.partition("=")
        chat = chat_of(name)
        if chat is None or not equals:
            raise ValueError(f"should be NAME=URL, with one of the names {', '.join(CHATS)}: '{name}' is none")
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"the URL of {name} should begin with https:// or http://")
        bases[chat] = url.rstrip("/")
    return bases
