"""What the handlers of the registry need: their parts, built once per process, and how they get them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from flowyard.bus.connection import Bus
from flowyard.export.addresses import OtelSettings
from flowyard.service.documents import DocumentCache
from flowyard.storage.agents import Agents
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard.web.turns import Turns
from flowyard_registry.settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class RegistryParts:
    settings: RegistrySettings
    otel: OtelSettings
    metrics: Metrics
    database: Database
    bus: Bus
    keys: CachedKeys
    workflows: Workflows
    documents: DocumentCache
    checks: Turns
    agents: Agents
    shutting_down: asyncio.Event


async def _parts(request: Request) -> RegistryParts:
    parts: RegistryParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[RegistryParts, Depends(_parts)]
