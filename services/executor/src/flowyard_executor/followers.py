"""Which runs have followers: for these, events are announced immediately, and tokens are published."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, RunFollowed
from flowyard.durable.attempt import Attempt
from flowyard_executor.tokens import TokenStream

FOLLOWED_S: Final = 15.0
"""How long a run counts as followed after the last message that says so."""
_MOST_FOLLOWED: Final = 10_000


class Followers:
    """One per process. `running`: the runs that this process executes."""

    def __init__(self, bus: Bus, tokens: TokenStream, running: Mapping[UUID, Attempt]) -> None:
        self.tokens = tokens
        self._bus = bus
        self._running = running
        self._events_until: dict[UUID, float] = {}
        self._tokens_until: dict[UUID, float] = {}

    def follow_events(self, run_id: UUID) -> bool:
        """Whether somebody follows the run's events."""
        return self._events_until.get(run_id, 0.0) > asyncio.get_running_loop().time()

    def follow_tokens(self, run_id: UUID) -> bool:
        """Whether somebody follows the run's tokens."""
        return self._tokens_until.get(run_id, 0.0) > asyncio.get_running_loop().time()

    async def receive(self, message: RunFollowed) -> None:
        """Counts the run as followed for FOLLOWED_S from now on."""
        _note(self._events_until, message.run_id)
        if message.tokens:
            _note(self._tokens_until, message.run_id)
        if (attempt := self._running.get(message.run_id)) is None:
            return
        # The follower may have read the events just before the last commit, which was announced to nobody.
        self._bus.publish(RunEvents(run_id=message.run_id, last_seq=attempt.durable_seq, has_moved=False))
        if message.from_start:
            self.tokens.publish_again(message.run_id)


def _note(followed_until: dict[UUID, float], run_id: UUID) -> None:
    """Adds the run at the end, and drops those at the beginning that aren't followed any more."""
    now = asyncio.get_running_loop().time()
    followed_until.pop(run_id, None)
    followed_until[run_id] = now + FOLLOWED_S
    for other, until in list(followed_until.items()):
        if until > now and len(followed_until) <= _MOST_FOLLOWED:
            break
        del followed_until[other]
