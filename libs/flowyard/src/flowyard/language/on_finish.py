"""`on_finish`: who is notified when a run has ended. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from flowyard.language.replies import ChatReply

End: TypeAlias = Literal["succeeded", "failed", "cancelled"]
Content: TypeAlias = Literal["outputs", "none"]

ENDS: Final[tuple[End, ...]] = get_args(End)
MOST_RECEIVERS: Final = 10
"""Of one document, and of one caller."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whom a run's end is reported to. `statuses`: which ends. `include`: whether the outputs are sent.

    `secrets`: references, with which it is signed; none: with the installation's secret. `is_open`: it isn't signed.
    `reply`: what a chat gets instead of a webhook; then `url` is the chat.
    """

    url: str
    statuses: tuple[End, ...] = ENDS
    include: Content = "outputs"
    secrets: tuple[str, ...] = ()
    is_open: bool = False
    reply: ChatReply | None = None

    def data(self, workflow: str) -> dict[str, Any]:
        """As it is stored with each run."""
        return {
            "id": receiver_id(workflow, self.url),
            "url": self.url,
            "status": list(self.statuses),
            "include": self.include,
            **({"secret": list(self.secrets)} if self.secrets else {}),
            **({"auth": "none"} if self.is_open else {}),
            **({"reply": self.reply.data()} if self.reply is not None else {}),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Receiver:
        """What `data` has made."""
        secrets = tuple(data.get("secret", ()))
        reply = ChatReply.of(data["reply"]) if "reply" in data else None
        return cls(data["url"], tuple(data["status"]), data["include"], secrets, data.get("auth") == "none", reply)

    @classmethod
    def chat(cls, reply: ChatReply) -> Receiver:
        """The chat that gets a reply."""
        ends: tuple[End, ...] = ENDS if reply.reply.failed else ("succeeded",)
        return cls(reply.address, ends, "none", is_open=True, reply=reply)


def receiver_id(workflow: str, url: str) -> str:
    """A workflow's receiver, whatever else is said of it: if it fails, all that is for it waits.

    Without the query, in which callers put what belongs to one run.
    """
    return hashlib.sha256(f"{workflow}\n{url.partition('?')[0]}".encode()).hexdigest()[:16]
