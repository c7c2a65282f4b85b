"""What the handlers of the gateway need: their parts, built once per process, and how they get them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, TypeAlias
from uuid import UUID

import httpx
from fastapi import Depends, Path, Request

from flowyard.bus.connection import Bus
from flowyard.control.live import Live
from flowyard.control.parts import Control
from flowyard.storage.agents import Agents
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.ledger import Ledger
from flowyard.storage.overview import Overview
from flowyard.storage.profiles import Profiles
from flowyard.telemetry.metrics import Metrics
from flowyard.web.stream_limits import StreamLimits
from flowyard.web.turns import Turns
from flowyard_gateway.encoding import EventEncoder
from flowyard_gateway.other_services import OtherServices
from flowyard_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class GatewayParts:
    settings: GatewaySettings
    metrics: Metrics
    database: Database
    bus: Bus
    control: Control
    live: Live
    agents: Agents
    overview: Overview
    ledger: Ledger
    profiles: Profiles
    keys: Keys
    callers: CachedKeys
    registry: httpx.AsyncClient
    other_services: OtherServices
    streams: StreamLimits
    large_answers: Turns
    encoder: EventEncoder
    shutting_down: asyncio.Event


async def _parts(request: Request) -> GatewayParts:
    parts: GatewayParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[GatewayParts, Depends(_parts)]
RunId: TypeAlias = Annotated[UUID, Path(description="The run's id")]
