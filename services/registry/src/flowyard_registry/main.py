"""The registry's process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flowyard.control.core import hears_of_keys, open_core
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.loop_lag import watch_loop_lag
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve
from flowyard_registry.app import ABOUT, registry_app
from flowyard_registry.delete import sweep
from flowyard_registry.documents import Documents
from flowyard_registry.parts import Parts
from flowyard_registry.presence import hears_agents
from flowyard_registry.settings import RegistrySettings


def main() -> None:
    settings = read_settings(RegistrySettings, sys.argv[1:], program="flowyard-registry", about=ABOUT)
    setup_logs("registry", settings.log_level)
    sys.exit(run_process(_run(settings)))


async def _run(settings: RegistrySettings) -> None:
    ending = asyncio.Event()
    with ends_on_signals(ending):
        await run_registry(settings, ending)


async def run_registry(
    settings: RegistrySettings, ending: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Until `ending` is set. `on_listening` is told the port. Raises UnknownSchema, Unavailable, CannotListen."""
    async with (
        _parts(settings, ending) as parts,
        hears_of_keys(parts.bus, parts.keys),
        hears_agents(parts),
        asyncio.TaskGroup() as tasks,
    ):
        loops = [tasks.create_task(loop) for loop in (sweep(parts), watch_loop_lag(parts.metrics.process))]
        await serve(
            registry_app(parts),
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            shutting_down=ending,
            on_listening=on_listening,
        )
        for loop in loops:
            loop.cancel()


@asynccontextmanager
async def _parts(settings: RegistrySettings, ending: asyncio.Event) -> AsyncIterator[Parts]:
    async with open_core(settings, "registry") as core:
        yield Parts(
            settings=settings,
            metrics=core.metrics,
            database=core.database,
            bus=core.bus,
            keys=CachedKeys(Keys(core.database)),
            workflows=Workflows(core.database),
            documents=Documents(),
            agents=Agents(core.database, ttl_s=settings.agent_ttl_s),
            shutting_down=ending,
        )
