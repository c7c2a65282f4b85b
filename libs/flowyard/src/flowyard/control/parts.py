"""What the functions of this room need, built once per process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from flowyard.bus.connection import Bus
from flowyard.control.announce import WorkBell
from flowyard.errors.requests import QueueFull
from flowyard.secrets.sealing import SecretBox, secret_box
from flowyard.service.documents import Documents
from flowyard.storage.database import Database
from flowyard.storage.deliveries import Deliveries
from flowyard.storage.history import History
from flowyard.storage.moves import Moves
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics

QUEUE_LIMIT: Final = 10_000
"""How many runs may be queued."""
INPUTS_LIMIT: Final = 1024 * 1024
"""Most bytes of a run's inputs, as JSON in UTF-8."""
_RETRY_AFTER_S: Final = 2.0


class QueueGate:
    """Counts the queued runs at most every `seconds`, and adds the runs that it has admitted since.

    Those may have begun already, so it counts at most every `seconds_if_full` when the queue seems full. Several
    processes together may admit a few more than `limit`: those that they admit between two counts.
    """

    def __init__(
        self, measures: QueueMeasures, *, limit: int, seconds: float = 0.5, seconds_if_full: float = 0.05
    ) -> None:
        self._measures = measures
        self._limit = limit
        self._seconds = seconds
        self._seconds_if_full = seconds_if_full
        self._queued = 0
        self._entering = 0
        self._entered = 0
        self._counted_at = -math.inf
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Admits one run, which has to be stored within this block. Raises QueueFull."""
        if self._is_outdated:
            async with self._counting:
                if self._is_outdated:
                    await self._count()
        if self._is_full:
            raise QueueFull(limit=self._limit, retry_after=_RETRY_AFTER_S)
        self._entering += 1
        try:
            yield
        finally:
            self._entering -= 1
            self._entered += 1
            self._queued += 1

    @property
    def _is_full(self) -> bool:
        return self._queued + self._entering >= self._limit

    @property
    def _is_outdated(self) -> bool:
        age = asyncio.get_running_loop().time() - self._counted_at
        return age >= (self._seconds_if_full if self._is_full else self._seconds)

    async def _count(self) -> None:
        before = self._entered
        queued = await self._measures.queued(self._limit)
        # Runs that were stored meanwhile may be counted twice, rather than not at all.
        self._queued = queued + self._entered - before
        self._counted_at = asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Control:
    documents: Documents
    runs: Runs
    deliveries: Deliveries
    moves: Moves
    history: History
    queue_measures: QueueMeasures
    queue: QueueGate
    bus: Bus
    work_bell: WorkBell
    metrics: Metrics
    inputs_limit: int
    box: SecretBox | None = field(repr=False)
    """Seals and opens secret inputs; None where there is no key."""
    records: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """How many whole records of runs are in memory at a time."""


def make_control(
    database: Database,
    bus: Bus,
    metrics: Metrics,
    *,
    queue_limit: int = QUEUE_LIMIT,
    inputs_limit: int = INPUTS_LIMIT,
    secret_key: str = "",
) -> Control:
    """`secret_key`: as `sealing.secret_box` takes it."""
    measures = QueueMeasures(database)
    return Control(
        documents=Documents(Workflows(database)),
        runs=Runs(database),
        deliveries=Deliveries(database),
        moves=Moves(database),
        history=History(database),
        queue_measures=measures,
        queue=QueueGate(measures, limit=queue_limit),
        bus=bus,
        work_bell=WorkBell(bus),
        metrics=metrics,
        inputs_limit=inputs_limit,
        box=secret_box(secret_key),
    )
