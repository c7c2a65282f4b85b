"""The registry's process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from flowyard.export.addresses import MLFLOW, OTLP, OtelSettings, read_otel
from flowyard.service.connections import drop_revoked_keys, open_connections
from flowyard.service.documents import DocumentCache
from flowyard.service.process import run_service, serve_until
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.exports import Exports
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.workflows import Workflows
from flowyard.web.turns import Turns
from flowyard_registry.app import ABOUT, registry_app
from flowyard_registry.delete import sweep
from flowyard_registry.parts import RegistryParts
from flowyard_registry.settings import RegistrySettings

log = logging.getLogger(__name__)

_MOST_DOCUMENTS: Final = 64
_CHECKS_AT_ONCE: Final = 2
"""Documents that are checked: one may take seconds."""


def main() -> None:
    settings = read_settings(RegistrySettings, sys.argv[1:], program="flowyard-registry", about=ABOUT)
    otel = read_otel(program="flowyard-registry")
    sys.exit(run_service("registry", settings, partial(run_registry, settings, otel=otel)))


async def run_registry(
    settings: RegistrySettings,
    ending: asyncio.Event,
    *,
    otel: OtelSettings | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Runs until `ending` is set; `on_listening` gets the port. Raises UnknownSchema, Unavailable, CannotListen."""
    async with (
        _parts(settings, otel or OtelSettings(sdk_disabled="true"), ending) as parts,
        drop_revoked_keys(parts.bus, parts.keys),
    ):
        app, loops = registry_app(parts), [sweep(parts), *await _exports(parts)]
        await serve_until(ending, app, settings, metrics=parts.metrics.process, loops=loops, on_listening=on_listening)


async def _exports(parts: RegistryParts) -> list[Coroutine[Any, Any, None]]:
    """The loops that export finished runs. From now on, runs are kept for the configured targets only."""
    names = [name for name, wanted in ((MLFLOW, parts.settings.mlflow_url), (OTLP, parts.otel.address)) if wanted]
    for target, runs in (await Exports(parts.database).set_targets(names)).items():
        log.warning("runs will not be exported", extra={"target": target, "runs": runs, "reason": "unconfigured"})
        parts.metrics.exports.dropped.labels(target, "unconfigured").inc(runs)
    if not names:
        return []
    # Imported here: a registry without exports needs neither httpx nor protobuf.
    from flowyard_registry.exporting import export_runs  # noqa: PLC0415

    return [export_runs(parts)]


@asynccontextmanager
async def _parts(settings: RegistrySettings, otel: OtelSettings, ending: asyncio.Event) -> AsyncIterator[RegistryParts]:
    async with open_connections(settings, "registry") as opened:
        yield RegistryParts(
            settings=settings,
            otel=otel,
            metrics=opened.metrics,
            database=opened.database,
            bus=opened.bus,
            keys=CachedKeys(Keys(opened.database)),
            workflows=Workflows(opened.database),
            documents=DocumentCache(most=_MOST_DOCUMENTS),
            checks=Turns("documents", at_once=_CHECKS_AT_ONCE),
            agents=Agents(opened.database, ttl_s=settings.agent_ttl_s),
            shutting_down=ending,
        )
