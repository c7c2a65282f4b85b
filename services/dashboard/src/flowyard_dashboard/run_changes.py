"""Notifies open lists when the status of any run has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.doorbell import Doorbell
from flowyard.bus.messages import RunEvents
from flowyard.tasks import cancel


class RunChanges:
    """A bell for each open list. While there is one, a subscription to all runs' events. One per process."""

    def __init__(self, bus: Bus, *, poll_s: float) -> None:
        self._bus = bus
        self._poll_s = poll_s
        self._bells: set[Doorbell] = set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self, shutting_down: asyncio.Event) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(work) for work in (self._subscribe(), self._ring_when(shutting_down))]
            try:
                yield
            finally:
                await cancel(working)

    @contextmanager
    def bell(self) -> Iterator[Doorbell]:
        """A bell that rings when a run's status changes, and every `poll_s` seconds: new runs and claims may send no
        message.
        """
        bell = Doorbell(poll_s=self._poll_s)
        self._bells.add(bell)
        self._changed.set()
        try:
            yield bell
        finally:
            self._bells.discard(bell)
            self._changed.set()

    async def _subscribe(self) -> None:
        while True:
            await self._until(is_open=True)
            async with self._bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, self._on_events, missed=self._ring):
                await self._until(is_open=False)

    async def _until(self, *, is_open: bool) -> None:
        while bool(self._bells) is not is_open:
            self._changed.clear()
            await self._changed.wait()

    async def _on_events(self, message: RunEvents) -> None:
        if message.has_moved:
            self._ring()

    async def _ring_when(self, shutting_down: asyncio.Event) -> None:
        await shutting_down.wait()
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring()
