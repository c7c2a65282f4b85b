"""What the handlers of the registry need: their parts, built once per process, and how they get them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from flowyard.bus.connection import Bus
from flowyard.bus.trigger_stream import TriggerStream
from flowyard.control.parts import Control
from flowyard.export.addresses import OtelSettings
from flowyard.service.documents import DocumentCache, Documents
from flowyard.storage.agents import Agents
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.storage.audit import Audit
from flowyard.storage.database import Database
from flowyard.storage.fires import Fires
from flowyard.storage.keys import CachedKeys, Sessions
from flowyard.storage.run_ends import RunEnds
from flowyard.storage.triggers import Triggers
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard.web.turns import Turns
from flowyard_registry.rounds import Rounds
from flowyard_registry.settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class RegistryParts:
    settings: RegistrySettings
    otel: OtelSettings
    metrics: Metrics
    database: Database
    bus: Bus
    keys: CachedKeys
    sessions: Sessions
    workflows: Workflows
    triggers: Triggers
    control: Control
    run_ends: RunEnds
    trigger_stream: TriggerStream
    rounds: Rounds
    documents: DocumentCache
    checks: Turns
    drafts: Turns
    fires: Fires
    scheduled: Documents
    agents: Agents
    announced_tools: AnnouncedTools
    audit: Audit
    shutting_down: asyncio.Event


async def _parts(request: Request) -> RegistryParts:
    parts: RegistryParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[RegistryParts, Depends(_parts)]
