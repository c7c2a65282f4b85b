"""What every service holds while it runs: its metrics, its database, its place on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, NoReturn

from flowyard.bus import subjects
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.messages import KeyChanged
from flowyard.errors.services import Unavailable
from flowyard.service.disk import disk_check, measure_disk
from flowyard.service.own_name import own_name
from flowyard.settings import ServiceSettings
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import CachedKeys
from flowyard.storage.schema import VERSION, check_schema
from flowyard.telemetry.metrics import Metrics, PostgresMetrics
from flowyard.web.health import Check

_ASK_EVERY_S: Final = 3.0
_ANSWER_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Connections:
    metrics: Metrics
    database: Database
    bus: Bus


@asynccontextmanager
async def open_connections(
    settings: ServiceSettings, service: str, *, name: str | None = None, most: int = 10
) -> AsyncIterator[Connections]:
    """`name`: of the process, in metrics and in NATS' own reports; `most`: connections to Postgres.

    Raises UnknownSchema, Unavailable. NATS may be away.
    """
    metrics = Metrics(service=service, version=version("flowyard"), name=name or own_name(service))
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
        measure_disk(settings.disk, metrics.postgres)
        watching = asyncio.create_task(_watch_postgres(database, metrics.postgres))
        try:
            yield Connections(metrics, database, bus)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _watch_postgres(database: Database, metrics: PostgresMetrics) -> NoReturn:
    while True:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await database.value("SELECT 1")
            metrics.reachable.set(1)
        except (Unavailable, TimeoutError):
            metrics.reachable.set(0)
        await asyncio.sleep(_ASK_EVERY_S)


@asynccontextmanager
async def drop_revoked_keys(bus: Bus, keys: CachedKeys) -> AsyncIterator[None]:
    """Drops a key from the cache when NATS says that it was revoked. Without NATS, the cache expires by itself."""

    async def changed(message: KeyChanged) -> None:
        keys.forget(message.id)

    async with bus.subscribe(subjects.KEYS_CHANGED, KeyChanged, changed, missed=keys.forget_all):
        yield


def postgres_and_nats(database: Database, bus: Bus, *, disk: str, without_nats: str) -> list[Check]:
    """A service needs Postgres, our schema and space on its disk to be ready, and not NATS.

    `disk`: a folder on the disk of Postgres. `without_nats`: what is missing without NATS.
    """

    async def postgres() -> str:
        await check_schema(database)
        return f"reachable, schema {VERSION}"

    async def nats() -> str:
        return "connected" if bus.connected else f"degraded: not connected, so {without_nats}"

    return [Check("postgres", postgres), Check("nats", nats), disk_check(database, disk)]
