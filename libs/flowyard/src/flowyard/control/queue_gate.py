"""Limits how many runs may be queued."""

from __future__ import annotations

import asyncio
from typing import Final

from flowyard.errors.requests import QueueFull
from flowyard.storage.queue import QueueMeasures

_RETRY_AFTER_S: Final = 2.0


class QueueGate:
    """Counts the queued runs at most every `seconds`, and adds the runs that it has admitted since.

    Several processes together may admit a few more than `limit`: those that they admit within `seconds`.
    """

    def __init__(self, measures: QueueMeasures, *, limit: int, seconds: float = 0.5) -> None:
        self._measures = measures
        self._limit = limit
        self._seconds = seconds
        self._queued = 0
        self._until = 0.0
        self._counting = asyncio.Lock()

    async def enter(self) -> None:
        """For one run. Raises QueueFull."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._until:
            async with self._counting:
                if clock() >= self._until:
                    self._queued = await self._measures.queued(self._limit)
                    self._until = clock() + self._seconds
        if self._queued >= self._limit:
            raise QueueFull(limit=self._limit, retry_after=_RETRY_AFTER_S)
        self._queued += 1
