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
from flowyard.storage.audit import Audit
from flowyard.storage.chat_sessions import ChatSessions
from flowyard.storage.database import Database
from flowyard.storage.key_pace import KeyPace
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.ledger import Ledger
from flowyard.storage.overview import Overview
from flowyard.storage.profiles import Profiles
from flowyard.storage.triggers import Triggers
from flowyard.telemetry.metrics import Metrics
from flowyard.web.pages.assets import Assets
from flowyard.web.pages.entrance import Entrance
from flowyard.web.stream_limits import StreamLimits
from flowyard.web.turns import Turns
from flowyard_gateway.chat.queues import SessionQueues
from flowyard_gateway.encoding import EventEncoder
from flowyard_gateway.hooks.limits import Buckets
from flowyard_gateway.hooks.live import LiveHooks
from flowyard_gateway.hooks.secrets import HookSecrets
from flowyard_gateway.mcp.door import McpDoor
from flowyard_gateway.other_services import OtherServices
from flowyard_gateway.sandboxes import KnownSandboxes
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
    audit: Audit
    overview: Overview
    ledger: Ledger
    profiles: Profiles
    triggers: Triggers
    hooks: LiveHooks
    hook_secrets: HookSecrets
    hook_rates: Buckets
    chats: ChatSessions
    session_queues: SessionQueues
    keys: Keys
    assets: Assets
    entrance: Entrance
    callers: CachedKeys
    pace: KeyPace
    registry: httpx.AsyncClient
    other_services: OtherServices
    sandboxes: KnownSandboxes
    streams: StreamLimits
    large_answers: Turns
    encoder: EventEncoder
    mcp: McpDoor
    shutting_down: asyncio.Event


async def _parts(request: Request) -> GatewayParts:
    parts: GatewayParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[GatewayParts, Depends(_parts)]
RunId: TypeAlias = Annotated[UUID, Path(description="The run's id")]
