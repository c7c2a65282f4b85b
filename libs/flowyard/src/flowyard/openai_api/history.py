"""Bounds the history of a session, which becomes the input of each of its runs."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, Final

from flowyard.openai_api.requests import Message, Messages

MOST_TURNS: Final = 200
"""Of a session's history: messages of a user, with what follows them."""


def bounded(messages: Messages, *, most_bytes: int, most_turns: int = MOST_TURNS) -> list[Message]:
    """The messages without the oldest turns, so that no more remain. A turn begins with a message of the user.

    Messages before the first turn are kept, those of the system.
    """
    starts = [i for i, message in enumerate(messages) if message.get("role") == "user"]
    if not starts:
        return list(messages)
    turns = [messages[begin:end] for begin, end in pairwise([*starts, len(messages)])]
    head = messages[: starts[0]]
    left = most_bytes - sum(map(_bytes, head))
    kept: list[Messages] = []
    for turn in reversed(turns[-most_turns:]):
        left -= sum(map(_bytes, turn))
        if left < 0:
            break
        kept.append(turn)
    return [*head, *(message for turn in reversed(kept) for message in turn)]


def answer_message(answer: Any) -> dict[str, Any] | None:
    """An answer, as an output of a run has it, as a message: a text, a message, or a list whose last one it is."""
    match answer:
        case str():
            return {"role": "assistant", "content": answer}
        case {"role": "assistant"}:
            return dict(answer)
        case [*_, {"role": "assistant"} as last]:
            return dict(last)
        case _:
            return None


def _bytes(message: Message) -> int:
    return len(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))
