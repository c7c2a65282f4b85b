"""The texts of a model call, as they are kept if prompts are logged: bounded, and apart from the run's events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowyard.runs.events import ModelCalled

MOST_CHARACTERS: Final = 200_000
"""Of the texts of one call. What is cut off is counted in the text."""


@dataclass(frozen=True, slots=True)
class CallTexts:
    """`messages`: each with `role` and `content`. `reply`, `reasoning`: None if there was none. Secrets are masked."""

    messages: tuple[Mapping[str, str], ...]
    reply: str | None = None
    reasoning: str | None = None

    @classmethod
    def of(cls, call: ModelCalled) -> CallTexts | None:
        """None if the call's prompt isn't logged. The reply is kept first, then the reasoning, then the messages."""
        if call.messages is None:
            return None
        rest = _Rest(MOST_CHARACTERS)
        reply, reasoning = rest.take(call.reply), rest.take(call.reasoning)
        messages = tuple({**message, "content": rest.take(message["content"]) or ""} for message in call.messages)
        return cls(messages, reply, reasoning)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> CallTexts:
        """The reverse of `data`, and of `short`."""
        messages = data["messages"] if "messages" in data else [{"role": "user", "content": data["prompt"]}]
        return cls(tuple(messages), data.get("reply"), data.get("reasoning"))

    @property
    def data(self) -> dict[str, Any]:
        """What JSON can hold. What is None is left out."""
        texts = {"reply": self.reply, "reasoning": self.reasoning}
        return {"messages": list(self.messages), **{name: text for name, text in texts.items() if text is not None}}

    @property
    def short(self) -> dict[str, Any]:
        """As it is stored: most calls have only one message, the user's. Then it is the `prompt`."""
        data = self.data
        match self.messages:
            case ({"role": "user", "content": prompt, **rest},) if not rest:
                del data["messages"]
                return {"prompt": prompt, **data}
            case _:
                return data


class _Rest:
    """How many characters may still be kept."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def take(self, text: str | None) -> str | None:
        if text is None or len(text) <= self._left:
            self._left -= len(text or "")
            return text
        kept, self._left = text[: self._left], 0
        return f"{kept}… ({len(text) - len(kept):,} more characters)"
