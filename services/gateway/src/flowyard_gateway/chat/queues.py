"""Messages of one conversation, one after the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from flowyard.errors.requests import SessionBusy, TooBusy

_MOST_WAITING: Final = 16
"""Messages of one conversation."""


class SessionQueues:
    """The messages of each conversation that wait in this process, in their order. One per process."""

    def __init__(self) -> None:
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._waiting: Counter[UUID] = Counter()

    @asynccontextmanager
    async def turn(self, session: UUID, *, wait_s: float) -> AsyncIterator[bool]:
        """Whether others had the turn before, so that the session has to be read again.

        Raises SessionBusy if others have the turn for so long; TooBusy.
        """
        lock = self._locks.setdefault(session, asyncio.Lock())
        if self._waiting[session] >= _MOST_WAITING:
            raise TooBusy("messages of this conversation")
        has_waited = self._waiting[session] > 0
        self._waiting[session] += 1
        try:
            await self._acquire(lock, wait_s)
            try:
                yield has_waited
            finally:
                lock.release()
        finally:
            self._waiting[session] -= 1
            if not self._waiting[session]:
                del self._waiting[session], self._locks[session]

    @staticmethod
    async def _acquire(lock: asyncio.Lock, wait_s: float) -> None:
        if not lock.locked():
            wait_s = 1.0
        try:
            async with asyncio.timeout(wait_s):
                await lock.acquire()
        except TimeoutError as error:
            raise SessionBusy(None) from error
