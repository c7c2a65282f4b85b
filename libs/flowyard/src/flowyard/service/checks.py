"""The checks behind `/health/ready` that services share."""

from __future__ import annotations

from flowyard.bus.connection import Bus
from flowyard.storage.database import Database
from flowyard.storage.schema import VERSION, check_schema
from flowyard.web.health import Check


def postgres_and_nats(database: Database, bus: Bus, *, without_nats: str) -> list[Check]:
    """A service needs Postgres and our schema to be ready, and not NATS: `without_nats` says what is missing then."""

    async def postgres() -> str:
        await check_schema(database)
        return f"reachable, schema {VERSION}"

    async def nats() -> str:
        return "connected" if bus.connected else f"degraded: not connected, so {without_nats}"

    return [Check("postgres", postgres), Check("nats", nats)]
