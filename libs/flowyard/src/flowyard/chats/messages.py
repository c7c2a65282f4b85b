"""What is sent to a chat, and what its platform says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Target: TypeAlias = Mapping[str, Any]
"""Where a reply goes, as it is stored with a run. Each platform has its own keys; `chat` is shown to people."""

TRANSIENT: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which the same request may succeed."""
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class ReplyMessage:
    """One of the messages of a reply. `text`: escaped. `number`: from 0.

    `is_late`: the platform takes no more direct answers to what was sent, so that the chat itself has to be used.
    `token`: empty if none was given.
    """

    target: Target
    text: str = field(repr=False)
    number: int
    is_late: bool
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`url`: in it, there may be a secret."""

    method: str
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatRefusal:
    """Why a message wasn't taken. `is_final`: to send it again would change nothing."""

    reason: str
    is_final: bool
    retry_after_s: float | None = None


def json_request(method: str, url: str, body: Mapping[str, Any], **headers: str) -> ChatRequest:
    return ChatRequest(
        method, url, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8", **headers}
    )


def refusal(status: int, reason: object, *, is_final: bool | None = None, retry_after_s: object = None) -> ChatRefusal:
    """`reason`, `retry_after_s`: as the platform gives them. `is_final`: None if the status decides."""
    words = f": {reason}" if isinstance(reason, str) and reason else ""
    text = "".join(each if each.isprintable() else " " for each in f"it answered {status}{words}")
    final = status < 500 and status not in TRANSIENT if is_final is None else is_final
    is_number = isinstance(retry_after_s, int | float) and not isinstance(retry_after_s, bool)
    return ChatRefusal(text[:_LONGEST], final, float(retry_after_s) if is_number else None)  # type: ignore[arg-type]


def part(payload: Any, *names: str) -> Any:
    """What a payload has at this place; None if it has nothing there."""
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def word(value: Any) -> str | None:
    """An id, as platforms write them: a text, or a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
