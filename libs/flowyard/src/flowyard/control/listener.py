"""What has arrived of one run for one reader, and wasn't taken yet. It is bounded: what doesn't fit is read again.

NATS says only that there are new events; what they are is read from Postgres. So whoever can send messages can't make
a reader believe anything. Tokens are a preview: the outputs of their step replace them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flowyard.bus.messages import RunTokens
from flowyard.runs.events import StepId

_MOST_TOKENS: Final = 500


@dataclass(slots=True)
class _Text:
    """How many characters of a reply have arrived."""

    epoch: int
    call: int
    length: int = 0


class RunListener:
    """The events of one run for one reader. `last_seq`: of the last one that it took. `gone`: no more will come."""

    def __init__(self, run_id: UUID, last_seq: int, *, only_end: bool = False) -> None:
        self.run_id = run_id
        self.only_end = only_end
        self.last_seq = last_seq
        self.followed = False
        self.gone = False
        self.must_read = False
        self.must_stream_again = False
        """Whether tokens were lost."""
        # A number: here, between two tokens, came an event of this number, or so a message says.
        self._arrived: deque[RunTokens | int] = deque()
        self._texts: dict[StepId, _Text] = {}
        self._changed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self._arrived and not self.must_read

    def add_news(self, last_seq: int) -> None:
        """Events up to this number, after the tokens that have arrived so far."""
        if self._arrived and isinstance(before := self._arrived[-1], int):
            self._arrived[-1] = max(before, last_seq)
        else:
            self._arrived.append(last_seq)
        self._changed.set()

    def add_token(self, token: RunTokens) -> None:
        """The executor publishes texts again for readers that come later: what this one has is left out."""
        if len(self._arrived) >= _MOST_TOKENS:
            return
        if token.offset is not None:
            text = self._text_of(token)
            if token.offset > text.length:
                self.must_stream_again = True
                return
            new = token.text[text.length - token.offset :]
            if (token.epoch, token.call) < (text.epoch, text.call) or not new:
                return
            if token.offset < text.length:
                token = token.model_copy(update={"offset": text.length, "text": new})
            text.length += len(new)
        self._arrived.append(token)
        self._changed.set()

    def _text_of(self, token: RunTokens) -> _Text:
        step = StepId(token.node, token.visit, token.item)
        text = self._texts.get(step)
        if text is None or (token.epoch, token.call) > (text.epoch, text.call):
            self._texts[step] = text = _Text(token.epoch, token.call)
        return text

    def read_again(self) -> None:
        """Events may have been missed: they have to be read from the database."""
        self.must_read = True
        self._changed.set()

    def compare(self, last_seq: int | None) -> None:
        """`last_seq`: of the run's last event in the database; None: the run isn't there."""
        if last_seq is None:
            self.gone = True
        if last_seq is None or last_seq > self.last_seq:
            self.read_again()

    async def wait(self) -> None:
        """Returns when there is something to take or to read."""
        while self.is_empty:
            self._changed.clear()
            await self._changed.wait()

    def take(self) -> Iterator[RunTokens]:
        """The tokens that have arrived, in order, up to where events have to be read from the database."""
        while self._arrived and not self.must_read:
            item = self._arrived.popleft()
            if isinstance(item, RunTokens):
                yield item
            else:
                self.must_read = item > self.last_seq

    def clear(self) -> None:
        """Forgets what has arrived."""
        self._arrived.clear()
        self.must_read = False
