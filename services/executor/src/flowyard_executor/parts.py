"""What an executor is made of."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.errors import InvalidDocument
from flowyard.graph.compile import Compiled, Graphs
from flowyard.graph.saver import Saver
from flowyard.language.load import load_text
from flowyard.language.workflow import Workflow
from flowyard.llm.models import Models
from flowyard.runs.claim import Claim
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer
from flowyard.storage.history import History
from flowyard.storage.moves import Moves
from flowyard.storage.retention import Retention
from flowyard.storage.runs import Runs
from flowyard.telemetry.metrics import Metrics
from flowyard_executor.clock import DatabaseClock
from flowyard_executor.settings import ExecutorSettings
from flowyard_executor.tokens import TokenStream


class Definitions:
    """Workflows by the definition that runs refer to, compiled: the most recently used ones."""

    def __init__(self, runs: Runs, graphs: Graphs, most: int = 256) -> None:
        self._runs = runs
        self._graphs = graphs
        self._most = most
        self._kept: OrderedDict[int, Workflow] = OrderedDict()

    async def compiled(self, claim: Claim) -> Compiled:
        """Raises InvalidDocument for one that an older version accepted and this one doesn't."""
        found = self._kept.pop(claim.definition, None)
        if found is None:
            found = _read(await self._runs.document(claim.definition), claim.workflow)
        self._kept[claim.definition] = found
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._graphs.get(found)


def _read(document: str, name: str) -> Workflow:
    loaded = load_text(document, name)
    if loaded.workflow is None:
        raise InvalidDocument([{"message": problem.render(name)} for problem in loaded.errors])
    return loaded.workflow


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
class Parts:
    settings: ExecutorSettings
    metrics: Metrics
    bus: Bus
    runs: Runs
    claims: Claims
    moves: Moves
    history: History
    retention: Retention
    committer: Committer
    definitions: Definitions
    saver: Saver
    models: Models
    tokens: TokenStream
    clock: DatabaseClock
    draining: asyncio.Event
    running: dict[UUID, Running] = field(default_factory=dict)
