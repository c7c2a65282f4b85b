"""Rounds of a loop, and whoever waits for the end of one that begins later."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Rounds:
    """`bell`: somebody waits for a round."""

    def __init__(self) -> None:
        self._begun = 0
        self._last_ended = 0
        self._ended = asyncio.Condition()
        self.bell = asyncio.Event()

    def begin(self) -> int:
        """The number of the round."""
        self.bell.clear()
        self._begun += 1
        return self._begun

    async def end(self, number: int) -> None:
        async with self._ended:
            self._last_ended = number
            self._ended.notify_all()

    async def next(self, patience_s: float) -> bool:
        """Waits until a round has ended that begins now or later. False: not within `patience_s` seconds."""
        wanted = self._begun + 1
        self.bell.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._ended:
                await self._ended.wait_for(lambda: self._last_ended >= wanted)
                return True
        return False
