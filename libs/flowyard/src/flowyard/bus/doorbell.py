"""A doorbell rings when there may be work. It also polls, so that a lost ring costs little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from flowyard.bus.connection import Bus
from flowyard.bus.messages import Announcement


class Doorbell:
    def __init__(self, *, poll_s: float = 1.0) -> None:
        self._poll_s = poll_s
        self._rung = asyncio.Event()
        self._rung_at: float | None = None

    def ring(self) -> None:
        """Many rings count as one. A ring between two waits isn't lost: the next wait returns at once."""
        if self._rung_at is None:
            self._rung_at = time.monotonic()
        self._rung.set()

    async def wait(self) -> float | None:
        """Until it is rung, or `poll_s` is over. When it rang, by the monotonic clock; None: it didn't."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._rung.wait()
        self._rung.clear()
        rung_at, self._rung_at = self._rung_at, None
        return rung_at


@asynccontextmanager
async def doorbell(bus: Bus, subject: str, kind: type[Announcement], *, poll_s: float = 1.0) -> AsyncIterator[Doorbell]:
    """Rings with each message, and whenever some may have been missed: so at first, and after each reconnect."""
    bell = Doorbell(poll_s=poll_s)

    async def ring(_message: Announcement) -> None:
        bell.ring()

    async with bus.subscribe(subject, kind, ring, missed=bell.ring):
        yield bell
