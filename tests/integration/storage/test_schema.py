from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from flowyard.errors.services import UnknownSchema
from flowyard.storage.database import open_database
from flowyard.storage.schema import VERSION, Migrated, alembic_config, check_schema, migrate
from flowyard_embedded.servers.postgres import PostgresServer
from support.servers import create_database, drop_database, execute, fetch
from support.waiting import eventually


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    name = create_database(postgres)
    yield postgres.url_of(name).get_secret_value()
    drop_database(postgres, name)


async def checked(url: str) -> None:
    async with open_database(url, service="test") as database:
        await check_schema(database)


def _check(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.check(config)


async def test_the_migrations_make_just_the_tables_that_the_code_names(database_url: str) -> None:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_check)
    await engine.dispose()


def test_the_version_that_services_need_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == VERSION


async def test_an_empty_database_is_migrated_and_then_left_alone(empty_url: str) -> None:
    assert await migrate(empty_url) == Migrated(None, VERSION)
    assert await migrate(empty_url) == Migrated(VERSION, VERSION)
    await checked(empty_url)


async def test_of_two_who_migrate_at_once_one_does_it(empty_url: str) -> None:
    done = await asyncio.gather(migrate(empty_url), migrate(empty_url))
    assert sorted(one.before or "" for one in done) == ["", VERSION]
    await checked(empty_url)


async def test_who_can_not_get_the_lock_gives_up_when_its_patience_is_over(empty_url: str) -> None:
    async with open_database(empty_url, service="test") as other, other.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(4611921703)")
        with pytest.raises(TimeoutError):
            await migrate(empty_url, patience_s=0.15)
    assert await fetch(empty_url, "SELECT to_regclass('runs')") is None


@pytest.mark.parametrize("version", [None, "0000", "9999"])
async def test_a_database_with_any_other_schema_is_refused(empty_url: str, version: str | None) -> None:
    if version is not None:
        await execute(
            empty_url,
            "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)",
            f"INSERT INTO alembic_version VALUES ('{version}')",
        )
    with pytest.raises(UnknownSchema, match=version or "no tables yet"):
        await checked(empty_url)


async def test_the_schema_of_a_newer_version_is_not_touched(empty_url: str) -> None:
    await migrate(empty_url)
    await execute(empty_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UnknownSchema, match="9999"):
        await migrate(empty_url)


async def test_a_migration_that_fails_leaves_nothing_and_can_be_repeated(empty_url: str) -> None:
    await execute(empty_url, "CREATE TABLE workflows (in_the_way text)")
    with pytest.raises(Exception, match="workflows"):
        await migrate(empty_url)
    assert await fetch(empty_url, "SELECT to_regclass('runs')") is None
    await execute(empty_url, "DROP TABLE workflows")
    assert (await migrate(empty_url)).after == VERSION


async def test_services_at_work_and_a_migration_are_never_in_a_deadlock(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("flowyard.storage.schema.VERSION", "0003")
        await migrate(empty_url)
    service = await asyncpg.connect(empty_url)
    async with service.transaction():
        await service.execute("LOCK TABLE step_parts IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(migrate(empty_url))

        async def waits() -> bool:
            return bool(await service.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        await service.execute("LOCK TABLE runs IN ROW EXCLUSIVE MODE")
    assert await migrating == Migrated("0003", VERSION)
    await service.close()
