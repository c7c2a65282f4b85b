"""Limits work that takes much memory or time: a few callers do it at a time, and the next ones wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from flowyard.errors.requests import TooBusy

_WAIT_S: Final = 10.0
_MOST_WAITING: Final = 64


class Turns:
    """`what`: the work, for an error. `at_once`: how many may do it at a time. The next ones wait for `wait_s`, and
    those that come when `most_waiting` wait are refused at once.
    """

    def __init__(self, what: str, *, at_once: int, wait_s: float = _WAIT_S, most_waiting: int = _MOST_WAITING) -> None:
        self._what = what
        self._turns = asyncio.Semaphore(at_once)
        self._wait_s = wait_s
        self._most_waiting = most_waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises TooBusy."""
        await self._begin()
        try:
            yield
        finally:
            self._turns.release()

    async def _begin(self) -> None:
        if self._waiting >= self._most_waiting:
            raise TooBusy(self._what)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise TooBusy(self._what) from error
        finally:
            self._waiting -= 1
