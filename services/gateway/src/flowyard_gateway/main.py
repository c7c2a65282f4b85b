"""The gateway's process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from flowyard.control.live import Live
from flowyard.control.parts import make_control
from flowyard.service.connections import drop_revoked_keys, open_connections
from flowyard.service.process import run_service, serve_until
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.audit import Audit
from flowyard.storage.chat_sessions import ChatSessions
from flowyard.storage.key_pace import KeyPace
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.ledger import Ledger
from flowyard.storage.overview import Overview
from flowyard.storage.profiles import Profiles
from flowyard.storage.triggers import Triggers
from flowyard.web.large_answers import turns_of_large_answers
from flowyard.web.stream_limits import StreamLimits
from flowyard_gateway.app import ABOUT, gateway_app
from flowyard_gateway.chat.queues import SessionQueues
from flowyard_gateway.chat_page.site import chat_assets, chat_entrance
from flowyard_gateway.encoding import EventEncoder
from flowyard_gateway.hooks.limits import Buckets
from flowyard_gateway.hooks.live import LiveHooks
from flowyard_gateway.hooks.secrets import HookSecrets
from flowyard_gateway.mcp.door import McpDoor
from flowyard_gateway.other_services import TIMEOUT_S, OtherServices
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.sandboxes import KnownSandboxes
from flowyard_gateway.settings import GatewaySettings

_CONNECTIONS: Final = 20
"""How many connections to Postgres the gateway opens at most."""
_TIMEOUT: Final = httpx.Timeout(10, connect=2)


def main() -> None:
    settings = read_settings(GatewaySettings, sys.argv[1:], program="flowyard-gateway", about=ABOUT)
    sys.exit(run_service("gateway", settings, partial(run_gateway, settings)))


async def run_gateway(
    settings: GatewaySettings, ending: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Runs until `ending` is set; `on_listening` gets the port. Raises AssetsMissing, UnknownSchema, Unavailable,
    CannotListen.
    """
    async with (
        _parts(settings, ending) as parts,
        drop_revoked_keys(parts.bus, parts.callers),
        parts.sandboxes.following(parts.bus),
        parts.live.running(ending),
        parts.mcp.running(),
    ):
        app = gateway_app(parts)
        await serve_until(ending, app, settings, metrics=parts.metrics.process, on_listening=on_listening)


@asynccontextmanager
async def _parts(settings: GatewaySettings, ending: asyncio.Event) -> AsyncIterator[GatewayParts]:
    # Read once for both: it takes 20 ms.
    certificates = httpx.create_ssl_context(trust_env=False)
    # `trust_env`: our own services aren't behind the environment's proxy.
    client = partial(httpx.AsyncClient, trust_env=False, verify=certificates)
    async with (
        open_connections(settings, "gateway", most=_CONNECTIONS) as opened,
        client(base_url=settings.registry_url, timeout=_TIMEOUT) as registry,
        client(timeout=TIMEOUT_S) as others,
    ):
        metrics, database, bus = opened.metrics, opened.database, opened.bus
        limits = {"queue_limit": settings.queue_limit, "inputs_limit": settings.inputs_limit}
        secret_key = settings.secret_key.get_secret_value()
        control = make_control(database, bus, metrics, **limits, secret_key=secret_key)
        keys = Keys(database)
        pace = KeyPace(database)
        assets = chat_assets()
        files = Path(settings.referenced_files) if settings.referenced_files else None
        yield GatewayParts(
            settings=settings,
            metrics=metrics,
            database=database,
            bus=bus,
            control=control,
            live=Live(bus, control.history, control.runs, poll_s=settings.poll_s),
            agents=Agents(database),
            audit=Audit(database),
            overview=Overview(database),
            ledger=Ledger(database),
            profiles=Profiles(database),
            triggers=Triggers(database),
            hooks=LiveHooks(Triggers(database), control.documents),
            hook_secrets=HookSecrets(dict(os.environ), settings.hook_variables, files),
            hook_rates=Buckets(),
            chats=ChatSessions(database),
            session_queues=SessionQueues(),
            keys=keys,
            assets=assets,
            entrance=chat_entrance(settings, database, assets, take_request=pace.take),
            callers=CachedKeys(keys),
            pace=pace,
            registry=registry,
            other_services=OtherServices(settings, others),
            sandboxes=KnownSandboxes(),
            streams=StreamLimits(most=settings.streams_limit, most_per_key=settings.streams_per_key),
            large_answers=turns_of_large_answers(),
            encoder=EventEncoder(),
            mcp=McpDoor(),
            shutting_down=ending,
        )
