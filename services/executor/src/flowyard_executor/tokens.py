"""Publishes tokens as models reply, of followed runs only: the replies of other runs aren't streamed at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunTokens
from flowyard.runs.events import StepId, Token

GATHER_S: Final = 0.03
"""Tokens are gathered for a moment: a message per word would be too many. The first one of a text isn't: a person waits
for it.
"""
_LONGEST_GATHER_S: Final = 0.1
_PER_RUN_S: Final = 0.001
_MOST_CHARACTERS: Final = 50_000
"""Of one message."""


@dataclass(slots=True)
class _Text:
    """The text of one reply so far: its published pieces, and those that aren't published yet."""

    epoch: int
    call: int
    published: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    offset: int = 0
    """The length of what is published."""

    def publish_again(self) -> None:
        self.published, self.new, self.offset = [], [*self.published, *self.new], 0

    def take(self) -> Iterator[tuple[int, str]]:
        """What is new, in parts, each with its offset."""
        text = "".join(self.new)
        for start in range(0, len(text), _MOST_CHARACTERS):
            yield self.offset + start, text[start : start + _MOST_CHARACTERS]
        if text:
            self.published.append(text)
        self.new, self.offset = [], self.offset + len(text)


class TokenStream:
    """One per process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._texts: dict[UUID, dict[StepId, _Text]] = {}
        self._changed: set[UUID] = set()
        self._timer: asyncio.TimerHandle | None = None

    def publish_again(self, run_id: UUID) -> None:
        """The texts so far of the run's calls at work, from their beginnings."""
        for text in self._texts.get(run_id, {}).values():
            text.publish_again()
        self.flush(run_id)

    def add(self, run_id: UUID, epoch: int, token: Token) -> None:
        texts = self._texts.setdefault(run_id, {})
        text = texts.get(token.step)
        if text is None or (text.epoch, text.call) != (epoch, token.call):
            self.flush(run_id)
            texts[token.step] = _Text(epoch, token.call, new=[token.text])
            self.flush(run_id)
            return
        text.new.append(token.text)
        self._changed.add(run_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(gather_s(len(self._texts)), self._flush)

    def flush(self, run_id: UUID) -> None:
        """Publishes the run's tokens now, before anything else about the run."""
        self._changed.discard(run_id)
        for step, text in self._texts.get(run_id, {}).items():
            for offset, part in text.take():
                self._bus.publish(_message(run_id, step, text, offset, part))

    def end_step(self, run_id: UUID, step: StepId) -> None:
        """After `flush`: its text is in its outputs now."""
        texts = self._texts.get(run_id, {})
        texts.pop(step, None)
        if not texts:
            self._texts.pop(run_id, None)

    def end_run(self, run_id: UUID) -> None:
        """Forgets the run: this process doesn't execute it any more."""
        self.flush(run_id)
        self._texts.pop(run_id, None)

    def _flush(self) -> None:
        self._timer = None
        for run_id in list(self._changed):
            self.flush(run_id)


def gather_s(runs: int) -> float:
    """Seconds, while so many runs are streamed: the more, the longer, since a message costs more than a token in it."""
    return min(GATHER_S + _PER_RUN_S * (runs - 1), _LONGEST_GATHER_S)


def _message(run_id: UUID, step: StepId, text: _Text, offset: int, part: str) -> RunTokens:
    place = {"node": step.node, "visit": step.visit, "item": step.item}
    return RunTokens(run_id=run_id, epoch=text.epoch, **place, call=text.call, offset=offset, text=part)
