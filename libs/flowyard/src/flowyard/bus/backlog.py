"""A queue of messages that wait to be sent or handled."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """A queue whose `put` never blocks. Beyond its limits, the oldest items are dropped, as new ones are worth more."""

    def __init__(self, *, items: int, size: int) -> None:
        """`size`: in bytes, of all items. A single item may be larger."""
        self._most_items = items
        self._most_size = size
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T, size: int) -> list[T]:
        """Returns the items that were dropped."""
        self._waiting.append((item, size))
        self._size += size
        self._filled.set()
        dropped = []
        while len(self._waiting) > 1 and (len(self._waiting) > self._most_items or self._size > self._most_size):
            dropped.append(self.take())
        return dropped

    async def filled(self) -> None:
        """Returns when there is something to take. For one reader only."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()

    def take(self) -> T:
        item, size = self._waiting.popleft()
        self._size -= size
        return item
