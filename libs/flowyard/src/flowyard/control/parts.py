"""What the functions of this room need, built once per process."""

from __future__ import annotations

import asyncio
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
        """Admits one run. Raises QueueFull."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._until:
            async with self._counting:
                if clock() >= self._until:
                    self._queued = await self._measures.queued(self._limit)
                    self._until = clock() + self._seconds
        if self._queued >= self._limit:
            raise QueueFull(limit=self._limit, retry_after=_RETRY_AFTER_S)
        self._queued += 1


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
