"""`reply` of a trigger: what is sent back to the chat that an event came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from flowyard.chats.messages import Target
from flowyard.chats.platforms import Chat

FAILED: Final = "Sorry, that didn't work."
"""What is sent if the run hasn't succeeded, unless the document has another text."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`text`: a template over the run's outputs; `failed`: without them, empty if nothing is sent then.

    `token`: a reference to the bot's token.
    """

    chat: Chat
    text: str
    failed: str = FAILED
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A reply of one run, and where it goes. `at`: when the event came, which can be answered directly for a time."""

    reply: Reply
    target: Target = field(repr=False)
    at: datetime

    @property
    def address(self) -> str:
        """As it is shown, and by which failures are counted."""
        return f"{self.reply.chat}:{self.target['chat']}"

    def data(self) -> dict[str, Any]:
        """As it is stored with the run."""
        reply = self.reply
        about: dict[str, Any] = {
            "chat": reply.chat,
            "text": reply.text,
            "failed": reply.failed,
            "target": dict(self.target),
        }
        about["at"] = self.at.isoformat()
        return about | ({"token": reply.token} if reply.token is not None else {})

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ChatReply:
        """What `data` has made."""
        reply = Reply(cast("Chat", data["chat"]), data["text"], data["failed"], data.get("token"))
        return cls(reply, data["target"], datetime.fromisoformat(data["at"]))
