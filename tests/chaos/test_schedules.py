"""Schedules while registries and Postgres die: real processes, each second a fire, and exactly one run of each."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from flowyard.errors.services import Unavailable
from flowyard.storage.database import Database, open_database
from flowyard.storage.schema import migrate
from flowyard.storage.triggers import Triggers
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from support.cli import clean_environment
from support.executors import ExecutorProcess
from support.forks import Fork, Order, start
from support.queued import apply
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

SECOND: Final = timedelta(seconds=1)
WRONG_CLOCK: Final = Path(__file__).parents[1] / "support" / "wrong_clock.py"
DOCUMENT: Final = """
flow: {name: tick}
state:
  fields:
    at: {type: datetime, required: true}
    line: str
nodes:
  - {id: keep, set: {line: "{at}"}}
triggers:
  seconds:
    schedule: {every: 1s, overlap: allow, catch_up: all}
    inputs: {at: "{fire.at}"}
"""


@dataclass
class Offices:
    """Registries in processes of their own, and the Postgres that they share. There is no NATS: nothing needs it."""

    home: Path
    postgres: PostgresServer
    database: Database
    registries: list[ExecutorProcess] = field(default_factory=list)
    listeners: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, *, clock_off_s: int = 0) -> ExecutorProcess:
        settings = {
            "FLOWYARD_DATABASE_URL": self.postgres.url.get_secret_value(),
            "FLOWYARD_NATS_URL": "nats://127.0.0.1:9",
            "FLOWYARD_PORT": "0",
            "FLOWYARD_EVENTS": "off",
        }
        environ = clean_environment() | settings
        process: Process | Fork
        if clock_off_s:
            words = [sys.executable, str(WRONG_CLOCK), "registry", str(clock_off_s)]
            process = await asyncio.create_subprocess_exec(
                *words, env=environ, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, limit=2**20
            )
        else:
            process = await start("registry", Order([], environ, str(Path.cwd())), merged=True)
        registry = ExecutorProcess(f"registry-{len(self.registries)}", process)
        self.registries.append(registry)
        self.listeners.append(asyncio.create_task(registry.listen()))
        await registry.logged("listening", within_s=40)
        return registry

    async def end_runs(self) -> None:
        """In place of executors."""
        with suppress(Unavailable):
            await self.database.execute(
                "UPDATE runs SET status = 'succeeded', finished_at = now() WHERE finished_at IS NULL"
            )

    async def runs(self) -> Counter[datetime]:
        """How many there are by the instant of their fire."""
        rows = await self.database.rows("SELECT inputs->>'at' AS at FROM runs")
        return Counter(datetime.fromisoformat(row["at"]) for row in rows)

    async def last(self) -> datetime:
        at: datetime = await self.database.value("SELECT max(fire_at) FROM deliveries WHERE run_id IS NOT NULL")
        return at

    async def fired_for(self, seconds: int) -> None:
        end = (await self.last()) + seconds * SECOND

        async def is_there() -> bool:
            await self.end_runs()
            with suppress(Unavailable):
                return (await self.last()) >= end
            return False

        await eventually(is_there, within_s=seconds + 60, pause_s=0.2)


@pytest.fixture
async def offices(server_home: Path) -> AsyncIterator[Offices]:
    postgres = start_postgres(server_home / "postgres")
    url = postgres.url.get_secret_value()
    await migrate(url)
    try:
        async with open_database(url, service="test") as database:
            opened = Offices(server_home, postgres, database)
            try:
                yield opened
            finally:
                postgres = opened.postgres
                for registry in opened.registries:
                    await registry.kill()
                await asyncio.gather(*opened.listeners)
    finally:
        postgres.process.stop()


async def one_run_each(offices: Offices) -> int:
    """How many fires there were; each second from the first to the last has exactly one run."""
    await Triggers(offices.database).set_paused("tick", "seconds", paused=True)
    runs = await offices.runs()
    first, last = min(runs), max(runs)
    expected = {first + number * SECOND for number in range(int((last - first) / SECOND) + 1)}
    assert set(runs) == expected
    assert set(runs.values()) == {1}
    rows = await offices.database.rows("SELECT outcome, run_id FROM deliveries")
    assert {row["outcome"] for row in rows} == {"started"}
    assert len({row["run_id"] for row in rows}) == len(rows) == len(runs)
    return len(runs)


async def begun(offices: Offices) -> None:
    await apply(offices.database, DOCUMENT)
    await eventually(offices.runs)


async def test_three_registries_of_which_one_is_killed_and_replaced_start_each_second_once(offices: Offices) -> None:
    registries = [await offices.start() for _ in range(3)]
    await begun(offices)
    await offices.fired_for(4)
    for registry in registries[:2]:
        await registry.kill()
        await offices.fired_for(3)
        await offices.start()
    await offices.fired_for(3)
    assert await one_run_each(offices) >= 13
    # More than one registry has fired: the others were there to take over.
    assert sum(any(line["event"] == "schedule fired" for line in each.lines) for each in offices.registries) > 1


@pytest.mark.long
async def test_while_no_registry_is_there_nothing_is_lost(offices: Offices) -> None:
    only = await offices.start()
    await begun(offices)
    for _ in range(2):
        await offices.fired_for(2)
        await only.kill()
        await asyncio.sleep(3)  # seconds that fire late
        only = await offices.start()
    await offices.fired_for(3)
    assert await one_run_each(offices) >= 8


async def test_a_postgres_that_is_killed_under_three_registries_costs_no_fire_and_doubles_none(
    offices: Offices,
) -> None:
    for _ in range(3):
        await offices.start()
    await begun(offices)
    for _ in range(2):
        await offices.fired_for(3)
        offices.postgres.process.kill()
        await asyncio.sleep(2)  # seconds that fire late
        offices.postgres = start_postgres(offices.home / "postgres", port=offices.postgres.port)
    await offices.fired_for(4)
    assert await one_run_each(offices) >= 11


@pytest.mark.long
async def test_registries_with_wrong_clocks_start_what_the_clock_of_the_database_says(offices: Offices) -> None:
    for off_s in (-7200, 0, 7200):
        await offices.start(clock_off_s=off_s)
    await begun(offices)
    await offices.fired_for(8)
    assert await one_run_each(offices) >= 9
    now = await offices.database.value("SELECT now()")
    assert abs(now - await offices.last()) < 5 * SECOND
    ids = await offices.database.rows("SELECT id FROM deliveries ORDER BY fire_at")
    # Ids are of the database's time, too, so that lists are in order.
    assert [row["id"] for row in ids] == sorted(row["id"] for row in ids)
