"""Connections are kept between statements, and nobody has to wait for one that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from flowyard.errors.services import Unavailable
from flowyard.storage.database import Database, open_database
from support.waiting import eventually

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def one(database_url: str) -> AsyncIterator[Database]:
    """A database with a single connection."""
    async with open_database(database_url, service="tests", most=1) as database:
        yield database


async def test_statements_one_after_the_other_use_the_same_connection(database_url: str) -> None:
    async with open_database(database_url, service="tests") as database:
        pids = {await database.value(PID) for _ in range(5)}
        async with database.transaction() as connection:
            pids.add(await connection.fetchval(PID))
    assert len(pids) == 1


async def test_all_who_wait_for_the_only_connection_get_it(one: Database) -> None:
    async def transaction() -> None:
        async with one.transaction() as connection:
            await connection.execute("SELECT 1")

    waiting = [work for _ in range(20) for work in (one.value("SELECT 1"), one.rows("SELECT 1"), transaction())]
    await asyncio.gather(*waiting)


async def test_a_kept_connection_that_postgres_has_closed_is_replaced(one: Database, database: Database) -> None:
    pid = await one.value(PID)
    await database.execute("SELECT pg_terminate_backend($1)", pid)

    async def other() -> bool:
        # As long as the process doesn't know that it is closed, a statement fails.
        try:
            return bool(await one.value(PID) != pid)
        except Unavailable:
            return False

    await eventually(other, 10)


async def test_a_connection_is_free_again_after_a_statement_that_failed_or_was_cancelled(one: Database) -> None:
    for _ in range(3):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await one.value("SELECT 1 / 0")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.value("SELECT pg_sleep(20)")
        assert await one.value("SELECT 1") == 1


async def test_all_connections_are_closed_at_the_end(database_url: str, database: Database) -> None:
    async with open_database(database_url, service="ending") as ending:
        await asyncio.gather(*(ending.value("SELECT pg_sleep(0.01)") for _ in range(5)))

    async def closed() -> bool:
        left = await database.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowyard-ending'")
        return int(left) == 0

    await eventually(closed, 10)
