"""Registries that fire schedules, on one Postgres whose clock the test sets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flowyard.export.addresses import OtelSettings
from flowyard.runs.deliveries import Delivery
from flowyard.storage.database import Database, open_database
from flowyard.storage.deliveries import Deliveries, DeliveryFilter
from flowyard_registry.firing import fire_round
from flowyard_registry.main import _parts as open_parts
from flowyard_registry.parts import RegistryParts
from flowyard_registry.settings import RegistrySettings
from support.database_clock import DatabaseClock
from support.queued import apply
from support.servers import Postgres, create_database

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def document(schedule: str, *, name: str = "report", when: str = "true", at: str = "'{fire.at}'") -> str:
    return f"""
flow: {{name: {name}}}
state:
  fields:
    at: {{type: str, required: true}}
    number: {{type: int, default: 0}}
    report: str
nodes:
  - {{id: write, prompt: "Report of {{at}} {{number}}", outputs: [report]}}
triggers:
  times:
    schedule: {{{schedule}}}
    when: "{when}"
    inputs: {{at: {at}, number: "{{fire.number}}"}}
"""


@dataclass
class Office:
    """Three registries, and the clock of their database."""

    registries: Sequence[RegistryParts]
    database: Database
    clock: DatabaseClock

    async def apply(self, text: str, at: datetime) -> None:
        await self.clock.set(at)
        await apply(self.database, text)
        await self.tick(at)

    async def tick(self, at: datetime) -> None:
        """All registries look at once at what is due."""
        await self.clock.set(at)
        await asyncio.gather(*map(fire_round, self.registries))

    async def pass_time(self, begin: datetime, end: datetime, step: timedelta) -> None:
        while begin < end:
            begin += step
            await self.tick(begin)

    async def deliveries(self, outcome: Any = None) -> list[Delivery]:
        wanted = DeliveryFilter(outcome=outcome)
        found = await Deliveries(self.database).page(wanted, 10_000)
        return sorted(found, key=lambda delivery: delivery.fire_at or NOON)

    async def fires(self, outcome: Any = None) -> list[datetime]:
        return [delivery.fire_at for delivery in await self.deliveries(outcome) if delivery.fire_at is not None]

    async def runs(self) -> list[dict[str, Any]]:
        """Their inputs."""
        rows = await self.database.rows("SELECT inputs FROM runs ORDER BY inputs->>'at'")
        return [row["inputs"] for row in rows]

    async def statuses(self) -> Counter[str]:
        return Counter(row["status"] for row in await self.database.rows("SELECT status FROM runs"))

    async def end_runs(self) -> None:
        await self.database.execute(
            "UPDATE runs SET status = 'succeeded', finished_at = now() WHERE finished_at IS NULL"
        )


def hours(*numbers: int) -> list[datetime]:
    return [NOON.replace(hour=number) for number in numbers]


@asynccontextmanager
async def opened_office(postgres: Postgres, template_database: str, nats_url: str) -> AsyncIterator[Office]:
    url = postgres.url_of(create_database(postgres, template_database)).get_secret_value()
    clock = DatabaseClock(url)
    await clock.install()
    settings = RegistrySettings.model_validate({"database_url": url, "nats_url": nats_url, "port": 0})
    async with AsyncExitStack() as stack:
        opening = (open_parts(settings, OtelSettings(sdk_disabled="true"), asyncio.Event()) for _ in range(3))
        registries = [await stack.enter_async_context(each) for each in opening]
        database = await stack.enter_async_context(open_database(url, service="test"))
        yield Office(registries, database, clock)
