"""Lists that live: who looks at one is woken when some run has moved, wherever it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.doorbell import Doorbell
from flowyard.bus.messages import RunEvents


class Pulse:
    """One per process: one subscription, and a bell for each list that is open."""

    def __init__(self, bus: Bus, *, poll_s: float) -> None:
        self._bus = bus
        self._poll_s = poll_s
        self._bells: set[Doorbell] = set()

    @asynccontextmanager
    async def running(self, ending: asyncio.Event) -> AsyncIterator[None]:
        async with self._bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, self._hear, missed=self._ring):
            telling = asyncio.create_task(self._ring_at(ending))
            try:
                yield
            finally:
                telling.cancel()

    @contextmanager
    def bell(self) -> Iterator[Doorbell]:
        """Rings when a run has changed its status, and every `poll_s` anyway: a run that is new isn't heard of."""
        bell = Doorbell(poll_s=self._poll_s)
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    async def _hear(self, message: RunEvents) -> None:
        if any(entry.type.startswith("run.") for entry in message.entries):
            self._ring()

    async def _ring_at(self, ending: asyncio.Event) -> None:
        await ending.wait()
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring()
