"""What an executor is built from, and the runs that it executes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.durable.attempt import Attempt, AttemptParts
from flowyard.durable.clock import DatabaseClock
from flowyard.language.installation import Installation
from flowyard.llm.models import Models
from flowyard.service.documents import Documents
from flowyard.storage.agents import Agents
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys
from flowyard.storage.moves import Moves
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.retention import Retention
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard.tools.registry import ToolRegistry
from flowyard_executor.daily_budgets import DailyBudgets
from flowyard_executor.followers import Followers
from flowyard_executor.holds import Holds
from flowyard_executor.load import Load
from flowyard_executor.mismatches import Mismatches
from flowyard_executor.model_limits import ModelLimits
from flowyard_executor.settings import ExecutorSettings


@dataclass(frozen=True, slots=True)
class ExecutorParts:
    """What an executor is built from; `running` are the runs that it executes, by id."""

    settings: ExecutorSettings
    metrics: Metrics
    database: Database
    bus: Bus
    queue: QueueMeasures
    claims: Claims
    moves: Moves
    retention: Retention
    agents: Agents
    announced_tools: AnnouncedTools
    daily_budgets: DailyBudgets
    model_limits: ModelLimits
    holds: Holds
    committer: Committer
    workflows: Workflows
    documents: Documents
    models: Models
    clock: DatabaseClock
    draining: asyncio.Event
    callers: CachedKeys
    mismatches: Mismatches
    followers: Followers
    attempt: AttemptParts
    load: Load
    running: dict[UUID, Attempt] = field(default_factory=dict)

    @property
    def installation(self) -> Installation:
        """What documents are checked against here: with the tools that this executor has now."""
        return with_tools(self.settings.installation, self.attempt.tools)


def with_tools(installation: Installation, tools: ToolRegistry) -> Installation:
    return replace(installation, tools=tools.facts)
