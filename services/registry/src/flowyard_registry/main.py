"""The registry's process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from flowyard.control.core import hears_of_keys, open_core
from flowyard.export.addresses import MLFLOW, OTLP, OtelSettings, read_otel
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.exports import Exports
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

log = logging.getLogger(__name__)


def main() -> None:
    settings = read_settings(RegistrySettings, sys.argv[1:], program="flowyard-registry", about=ABOUT)
    otel = read_otel(program="flowyard-registry")
    setup_logs("registry", settings.log_level)
    sys.exit(run_process(_run(settings, otel)))


async def _run(settings: RegistrySettings, otel: OtelSettings) -> None:
    ending = asyncio.Event()
    with ends_on_signals(ending):
        await run_registry(settings, ending, otel=otel)


async def run_registry(
    settings: RegistrySettings,
    ending: asyncio.Event,
    *,
    otel: OtelSettings | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Until `ending` is set. `on_listening` is told the port. Raises UnknownSchema, Unavailable, CannotListen."""
    async with (
        _parts(settings, otel or OtelSettings(sdk_disabled="true"), ending) as parts,
        hears_of_keys(parts.bus, parts.keys),
        hears_agents(parts),
        asyncio.TaskGroup() as tasks,
    ):
        work = [sweep(parts), watch_loop_lag(parts.metrics.process), *await _exports(parts)]
        loops = [tasks.create_task(loop) for loop in work]
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


async def _exports(parts: Parts) -> list[Coroutine[Any, Any, None]]:
    """What tells other systems of finished runs. From here on, runs are kept for those systems and for no others."""
    names = [name for name, wanted in ((MLFLOW, parts.settings.mlflow_url), (OTLP, parts.otel.address)) if wanted]
    for target, runs in (await Exports(parts.database).set_targets(names)).items():
        log.warning("runs will not be told", extra={"target": target, "runs": runs, "reason": "unconfigured"})
        parts.metrics.exports.dropped.labels(target, "unconfigured").inc(runs)
    if not names:
        return []
    # Imported here: a registry that tells nobody needs neither httpx nor protobuf.
    from flowyard_registry.exporting import export_runs  # noqa: PLC0415

    return [export_runs(parts)]


@asynccontextmanager
async def _parts(settings: RegistrySettings, otel: OtelSettings, ending: asyncio.Event) -> AsyncIterator[Parts]:
    async with open_core(settings, "registry") as core:
        yield Parts(
            settings=settings,
            otel=otel,
            metrics=core.metrics,
            database=core.database,
            bus=core.bus,
            keys=CachedKeys(Keys(core.database)),
            workflows=Workflows(core.database),
            documents=Documents(),
            agents=Agents(core.database, ttl_s=settings.agent_ttl_s),
            shutting_down=ending,
        )
