"""The loop that publishes the events of runs: from Postgres, in order per run, each at least once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from flowyard.bus.event_stream import PublicEventStream
from flowyard.errors.services import Unavailable
from flowyard.export.cloud_events import messages_of
from flowyard.storage.public_events import Mark, PublicEvents
from flowyard.telemetry.metrics import EventStreamMetrics

log = logging.getLogger(__name__)

_RELEASE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class RelayParts:
    """`kinds`: the types of events that are published. `every_s`: seconds between looks for new ones.

    `hold_every_s`: seconds between renewals of the lease, or tries to get it.
    """

    events: PublicEvents
    stream: PublicEventStream
    metrics: EventStreamMetrics
    kinds: Collection[str]
    every_s: float = 0.5
    hold_every_s: float = 4.0


class EventRelay:
    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._after: int | None = None
        self._mark: Mark | None = None
        self._held_at = 0.0
        self._failing = False

    async def run(self) -> NoReturn:
        """Runs until it is cancelled."""
        try:
            while True:
                await self._turn()
                await asyncio.sleep(self._parts.every_s)
        finally:
            if self._after is not None:
                with suppress(Unavailable, TimeoutError):
                    async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                        await self._parts.events.release()

    async def _turn(self) -> None:
        try:
            if not self._held_at or time.monotonic() - self._held_at > self._parts.hold_every_s:
                await self._hold()
            if self._after is not None:
                await self._publish_new(self._after)
        except Unavailable as error:
            self._held_at = 0.0
            self._parts.metrics.failures.inc()
            if not self._failing:
                log.warning("events aren't published: %s", error.message)
            self._failing = True
            return
        if self._failing:
            log.info("events are published again")
        self._failing = False

    async def _hold(self) -> None:
        """Renews the lease, or tries to get it."""
        position = await self._parts.events.hold()
        if position is None or self._after is None:
            self._parts.metrics.lag.set(0.0)
        if position != self._after:
            self._after, self._mark = position, None
        self._held_at = time.monotonic()

    async def _publish_new(self, after: int) -> None:
        seen = await self._parts.events.look(after)
        self._parts.metrics.lag.set(seen.lag_s)
        # Also without events: who wants to follow the stream shall find it.
        if not await self._is_stream_ready(after):
            return
        if self._mark is not None and seen.oldest_transaction > self._mark.transaction:
            await self._publish_until(after, self._mark)
            self._mark = None
        if self._mark is None and self._after is not None:
            # Read in the next turn, when all transactions that have taken a position until now have ended.
            self._mark = seen.mark

    async def _is_stream_ready(self, after: int) -> bool:
        """False if another process publishes, or has published since."""
        if not self._parts.stream.is_known:
            await self._parts.stream.look()
            await self._hold()
        return self._after == after

    async def _publish_until(self, after: int, mark: Mark) -> None:
        """Raises Unavailable: then what the stream has of it already is found out at the next try."""
        parts = self._parts
        while rows := await parts.events.read(after, mark, kinds=parts.kinds):
            messages = [m for row in rows for m in messages_of(row.run_id, row.workflow, row.entries)]
            if messages:
                await parts.stream.publish(messages)
                parts.metrics.published.inc(len(messages))
            after = rows[-1].position
            if not await self._advance(after):
                return
        if after < mark.position:
            await self._advance(mark.position)

    async def _advance(self, position: int) -> bool:
        """False if another process publishes now."""
        held = await self._parts.events.advance(position)
        self._after = position if held else None
        return held
