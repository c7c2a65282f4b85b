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
from flowyard.storage.schema import VERSION, check_schema
from flowyard.telemetry.metrics import Metrics
from flowyard.web.health import Check


@dataclass(frozen=True, slots=True)
class Connections:
    metrics: Metrics
    database: Database
    bus: Bus


@asynccontextmanager
async def open_connections(
    settings: ServiceSettings, service: str, *, name: str | None = None, most: int = 10
) -> AsyncIterator[Connections]:
    """`name`: of the connection in NATS' own reports; `most`: connections to Postgres.

    Raises UnknownSchema, Unavailable. NATS may be away.
    """
    metrics = Metrics(service=service, version=version("flowyard"))
    async with (
        open_database(settings.database_url.get_secret_value(), service=service, most=most) as database,
        open_bus(
            settings.nats_url.get_secret_value(),
            name=name or f"flowyard-{service}",
            on_drop=lambda reason, _kind: metrics.bus.dropped.labels(reason).inc(),
            on_connect=metrics.bus.reconnects.inc,
        ) as bus,
    ):
        await check_schema(database)
        metrics.bus.connected.set_function(lambda: float(bus.connected))
        yield Connections(metrics, database, bus)


@asynccontextmanager
async def drop_revoked_keys(bus: Bus, keys: CachedKeys) -> AsyncIterator[None]:
    """Drops a key from the cache when NATS says that it was revoked. Without NATS, the cache expires by itself."""

    async def changed(message: KeyChanged) -> None:
        keys.forget(message.id)

    async with bus.subscribe(subjects.KEYS_CHANGED, KeyChanged, changed, missed=keys.forget_all):
        yield


def postgres_and_nats(database: Database, bus: Bus, *, without_nats: str) -> list[Check]:
    """A service needs Postgres and our schema to be ready, and not NATS: `without_nats` says what is missing then."""

    async def postgres() -> str:
        await check_schema(database)
        return f"reachable, schema {VERSION}"

    async def nats() -> str:
        return "connected" if bus.connected else f"degraded: not connected, so {without_nats}"

    return [Check("postgres", postgres), Check("nats", nats)]
