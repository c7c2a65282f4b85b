"""What was heard of one run and not taken yet, for one reader. It never grows beyond its bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from flowyard.bus.messages import RunTokens
from flowyard.runs.run import Entry

_MOST_ENTRIES: Final = 32
"""Few: each may be large, and there may be many slow readers."""
_MOST_TOKENS: Final = 500


class Ear:
    """`last`: the number of the last event that its reader has got. `gone`: the run isn't there any more."""

    def __init__(self, run_id: UUID, last: int) -> None:
        self.run_id = run_id
        self.last = last
        self.followed = False
        self.gone = False
        self.must_read = False
        self._heard: deque[Entry | RunTokens] = deque()
        self._entries = 0
        self._something = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        return not self._heard and not self.must_read

    def hear(self, entries: Sequence[Entry]) -> None:
        """Events that NATS told of. Those that a slow reader can't take any more are in the database."""
        if self._entries + len(entries) > _MOST_ENTRIES:
            self._heard.clear()
            self._entries = 0
            self.wake()
            return
        self._heard.extend(entries)
        self._entries += len(entries)
        self._something.set()

    def hear_token(self, token: RunTokens) -> None:
        if len(self._heard) - self._entries < _MOST_TOKENS:
            self._heard.append(token)
            self._something.set()

    def wake(self) -> None:
        """Something may have happened that wasn't heard: the database knows."""
        self.must_read = True
        self._something.set()

    def told_of(self, last_seq: int | None) -> None:
        """How far the run is; None: it isn't there."""
        if last_seq is None:
            self.gone = True
        if last_seq is None or last_seq > self.last:
            self.wake()

    async def something(self) -> None:
        """Until there is something to take or to read."""
        while self.is_quiet:
            self._something.clear()
            await self._something.wait()

    def take(self) -> Iterator[Entry | RunTokens]:
        """What was heard, in order, up to the first gap: then it has to be read."""
        while self._heard and not self.must_read:
            heard = self._heard.popleft()
            if isinstance(heard, RunTokens):
                yield heard
                continue
            self._entries -= 1
            if heard.seq == self.last + 1:
                self.last = heard.seq
                yield heard
            elif heard.seq > self.last:
                self.wake()
