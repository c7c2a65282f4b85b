"""The reasoning of a model, kept apart from its reply. Pure."""

from __future__ import annotations

import re
from typing import Final

from flowyard.llm.streamed_text import whole_text

REASONING_LIMIT: Final = 100_000
"""Characters of a call's reasoning that are kept."""
_TAG: Final = re.compile(r"<(think|thinking|reasoning)(?:\s[^<>]{0,100})?>", re.IGNORECASE)
_OPENING: Final = re.compile(rf"\s*{_TAG.pattern}", re.IGNORECASE)
# Some servers give the model the opening tag, so that it isn't part of the reply.
_CLOSING: Final = re.compile(r"</(?:think|thinking|reasoning)>[ \t]*(?:\n|$)", re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str]:
    """The blocks of reasoning that a text begins with, such as `<think>…</think>`, and the text after them.

    A block that isn't closed goes to the end.
    """
    if "<" not in text:
        return "", text.strip()
    blocks: list[str] = []
    end = 0
    closing = _CLOSING.search(text)
    if closing is not None and _TAG.search(text, 0, closing.start()) is None:
        blocks.append(text[: closing.start()].strip())
        end = closing.end()
    while (opening := _OPENING.match(text, end)) is not None:
        closing = re.compile(f"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
        start, end = closing.span() if closing is not None else (len(text), len(text))
        blocks.append(text[opening.end() : start].strip())
    return "\n".join(block for block in blocks if block), text[end:].strip()


class Reasoning:
    """Receives a model's reasoning in pieces, and keeps its beginning. `is_there`: the model wrote any."""

    __slots__ = ("_left", "_pieces", "is_there")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._left = REASONING_LIMIT
        self.is_there = False

    def add(self, piece: object) -> None:
        """Whatever a provider sends as reasoning: what is no text is only noticed."""
        self.is_there = self.is_there or bool(piece)
        if isinstance(piece, str) and self._left > 0:
            self._pieces.append(piece[: self._left])
            self._left -= len(piece)

    def text(self) -> str:
        return whole_text("".join(self._pieces))
