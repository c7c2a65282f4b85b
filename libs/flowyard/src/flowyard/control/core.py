"""What every service holds while it runs: its metrics, its database, its place on the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from flowyard.bus import subjects
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.messages import KeyChanged
from flowyard.settings import ServiceSettings
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import CachedKeys
from flowyard.storage.schema import check_schema
from flowyard.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Core:
    metrics: Metrics
    database: Database
    bus: Bus


@asynccontextmanager
async def open_core(
    settings: ServiceSettings, service: str, *, name: str | None = None, connections: int = 10
) -> AsyncIterator[Core]:
    """`name`: by which NATS reports it; `connections`: to Postgres, at most. Raises UnknownSchema, Unavailable."""
    metrics = Metrics(service=service, version=version("flowyard"))
    async with (
        open_database(settings.database_url.get_secret_value(), service=service, most=connections) as database,
        open_bus(
            settings.nats_url.get_secret_value(),
            name=name or f"flowyard-{service}",
            on_drop=lambda reason, _kind: metrics.bus.dropped.labels(reason).inc(),
            on_connect=metrics.bus.reconnects.inc,
        ) as bus,
    ):
        await check_schema(database)
        metrics.bus.connected.set_function(lambda: float(bus.connected))
        yield Core(metrics, database, bus)


@asynccontextmanager
async def hears_of_keys(bus: Bus, callers: CachedKeys) -> AsyncIterator[None]:
    """A revoked key is refused at once, and soon anyway."""

    async def changed(message: KeyChanged) -> None:
        callers.forget(message.id)

    async with bus.subscribe(subjects.KEYS_CHANGED, KeyChanged, changed, missed=callers.forget_all):
        yield
