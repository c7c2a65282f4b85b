"""What an executor is made of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.graph.compile import Graphs
from flowyard.graph.saver import Saver
from flowyard.llm.models import Models
from flowyard.runs.claim import Claim
from flowyard.sealing import Box
from flowyard.service.documents import Documents
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer
from flowyard.storage.database import Database
from flowyard.storage.history import History
from flowyard.storage.keys import CachedKeys
from flowyard.storage.moves import Moves
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.retention import Retention
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard_executor.clock import DatabaseClock
from flowyard_executor.days import Days
from flowyard_executor.settings import ExecutorSettings
from flowyard_executor.tokens import TokenStream


@dataclass(slots=True)
class Running:
    """A run that this process executes. `stopped`: why its task was cancelled; `ending`: too late for that."""

    claim: Claim
    task: asyncio.Task[None] | None = None
    stopped: str | None = None
    ending: bool = False

    def stop(self, why: str) -> None:
        """`cancelled`: somebody wants it to end; `lost`: it isn't ours any more; `drained`: we are going away."""
        if self.stopped is None and not self.ending and self.task is not None:
            self.stopped = why
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class ExecutorParts:
    settings: ExecutorSettings
    metrics: Metrics
    database: Database
    bus: Bus
    queue: QueueMeasures
    claims: Claims
    moves: Moves
    history: History
    retention: Retention
    days: Days
    committer: Committer
    workflows: Workflows
    documents: Documents
    graphs: Graphs
    saver: Saver
    models: Models
    tokens: TokenStream
    clock: DatabaseClock
    draining: asyncio.Event
    callers: CachedKeys
    box: Box | None = field(repr=False)
    running: dict[UUID, Running] = field(default_factory=dict)
