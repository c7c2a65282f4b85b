"""The gateway's process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

from flowyard.control.core import Core, hears_of_keys, open_core
from flowyard.control.live import Live
from flowyard.control.parts import make_control
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.history import History
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.overview import Overview
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.loop_lag import watch_loop_lag
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve
from flowyard_gateway.app import ABOUT, gateway_app
from flowyard_gateway.neighbours import WITHIN_S, Neighbours
from flowyard_gateway.parts import Parts
from flowyard_gateway.settings import GatewaySettings

_CONNECTIONS: Final = 20
"""To Postgres: the most that requests use at a time."""
_TIMEOUT: Final = httpx.Timeout(10, connect=2)


def main() -> None:
    settings = read_settings(GatewaySettings, sys.argv[1:], program="flowyard-gateway", about=ABOUT)
    setup_logs("gateway", settings.log_level)
    sys.exit(run_process(_run(settings)))


async def _run(settings: GatewaySettings) -> None:
    ending = asyncio.Event()
    with ends_on_signals(ending):
        await run_gateway(settings, ending)


async def run_gateway(
    settings: GatewaySettings, ending: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Until `ending` is set. `on_listening` is told the port. Raises UnknownSchema, Unavailable, CannotListen."""
    async with (
        _parts(settings, ending) as parts,
        hears_of_keys(parts.bus, parts.callers),
        parts.live.running(ending),
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(watch_loop_lag(parts.metrics.process))
        await serve(
            gateway_app(parts),
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            shutting_down=ending,
            on_listening=on_listening,
        )
        watching.cancel()


@asynccontextmanager
async def _parts(settings: GatewaySettings, ending: asyncio.Event) -> AsyncIterator[Parts]:
    async with (
        open_core(settings, "gateway", connections=_CONNECTIONS) as core,
        # No proxy of the environment's: the registry is one of ours.
        httpx.AsyncClient(base_url=settings.registry_url, timeout=_TIMEOUT, trust_env=False) as registry,
        httpx.AsyncClient(timeout=WITHIN_S, trust_env=False) as beside,
    ):
        yield _assembled(settings, core, registry, Neighbours(settings, beside), ending)


def _assembled(
    settings: GatewaySettings, core: Core, registry: httpx.AsyncClient, neighbours: Neighbours, ending: asyncio.Event
) -> Parts:
    metrics, database, bus = core.metrics, core.database, core.bus
    limits = {"queue_limit": settings.queue_limit, "inputs_limit": settings.inputs_limit}
    keys = Keys(database)
    return Parts(
        settings=settings,
        metrics=metrics,
        database=database,
        bus=bus,
        control=make_control(database, bus, metrics.runs, secret_key=settings.secret_key.get_secret_value(), **limits),
        live=Live(bus, History(database), poll_s=settings.poll_s),
        agents=Agents(database),
        overview=Overview(database),
        keys=keys,
        callers=CachedKeys(keys),
        registry=registry,
        neighbours=neighbours,
        shutting_down=ending,
    )
