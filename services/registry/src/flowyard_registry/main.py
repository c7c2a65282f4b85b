"""The registry's process."""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from flowyard.bus.event_stream import PublicEventStream
from flowyard.bus.trigger_stream import TriggerStream
from flowyard.control.parts import make_control
from flowyard.export.addresses import MLFLOW, OTLP, OtelSettings, read_otel
from flowyard.export.relay import EventRelay, RelayParts
from flowyard.service.connections import drop_revoked_keys, open_connections
from flowyard.service.documents import DocumentCache, Documents
from flowyard.service.own_name import container_name
from flowyard.service.process import run_service, serve_until
from flowyard.settings import read_settings
from flowyard.storage.agents import Agents
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.storage.audit import Audit
from flowyard.storage.exports import Exports
from flowyard.storage.fires import Fires
from flowyard.storage.keys import CachedKeys, Keys, Sessions
from flowyard.storage.public_events import PublicEvents
from flowyard.storage.run_ends import RunEnds
from flowyard.storage.triggers import Triggers
from flowyard.storage.workflows import Workflows
from flowyard.web.turns import Turns
from flowyard_registry.app import ABOUT, registry_app
from flowyard_registry.chain import chain_acts
from flowyard_registry.delete import sweep
from flowyard_registry.firing import fire_schedules
from flowyard_registry.follow import follow_runs
from flowyard_registry.notifying import send_notifications
from flowyard_registry.parts import RegistryParts
from flowyard_registry.receive import receive_messages
from flowyard_registry.rounds import Rounds
from flowyard_registry.settings import RegistrySettings

log = logging.getLogger(__name__)

_MOST_DOCUMENTS: Final = 64
_RELAY_LEASE_S: Final = 12.0
"""After so long without it, another registry publishes the events."""
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
        app = registry_app(parts)
        loops = [sweep(parts), chain_acts(parts), follow_runs(parts), fire_schedules(parts), send_notifications(parts)]
        loops += [receive_messages(parts), *await _exports(parts), *await _events(parts)]
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


async def _events(parts: RegistryParts) -> list[Coroutine[Any, Any, None]]:
    """The loop that publishes events. If they aren't wanted, what happens from now on will never be published."""
    # A container keeps its name when it is made anew.
    events = PublicEvents(parts.database, container_name() or platform.node(), lease_s=_RELAY_LEASE_S)
    if parts.settings.events == "off":
        await events.forget()
        return []
    settings = parts.settings
    stream = PublicEventStream(parts.bus, max_age_s=settings.events_max_age_s, max_bytes=settings.events_max_bytes)
    return [EventRelay(RelayParts(events, stream, parts.metrics.event_stream, settings.published_events)).run()]


@asynccontextmanager
async def _parts(settings: RegistrySettings, otel: OtelSettings, ending: asyncio.Event) -> AsyncIterator[RegistryParts]:
    async with open_connections(settings, "registry") as opened:
        control = make_control(
            opened.database,
            opened.bus,
            opened.metrics,
            queue_limit=settings.queue_limit,
            inputs_limit=settings.inputs_limit,
        )
        yield RegistryParts(
            settings=settings,
            otel=otel,
            metrics=opened.metrics,
            database=opened.database,
            bus=opened.bus,
            keys=CachedKeys(Keys(opened.database)),
            sessions=Sessions(opened.database),
            workflows=Workflows(opened.database),
            triggers=Triggers(opened.database),
            control=control,
            run_ends=RunEnds(opened.database),
            trigger_stream=TriggerStream(
                opened.bus,
                subjects=settings.trigger_subjects,
                max_age_s=settings.triggers_max_age_s,
                max_bytes=settings.triggers_max_bytes,
            ),
            rounds=Rounds(),
            documents=DocumentCache(most=_MOST_DOCUMENTS),
            checks=Turns("documents", at_once=_CHECKS_AT_ONCE),
            drafts=Turns("drafts", at_once=1),
            fires=Fires(opened.database),
            scheduled=Documents(Workflows(opened.database)),
            agents=Agents(opened.database, ttl_s=settings.agent_ttl_s),
            announced_tools=AnnouncedTools(opened.database),
            audit=Audit(opened.database),
            shutting_down=ending,
        )
