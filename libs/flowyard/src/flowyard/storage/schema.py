"""The schema's version: `migrate` brings a database to it, `check_schema` refuses any other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from flowyard.errors.services import UnknownSchema
from flowyard.storage.database import Database

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

VERSION: Final = "0004"
"""The number of the newest migration. It is repeated here so that services need not import Alembic."""
_LOCK: Final = 4_611_921_703
"""The advisory lock under which migrations run: any number that nothing else uses."""

_BUSY: Final = frozenset({"55P03", "40P01"})
"""Postgres' codes of errors: a lock that wasn't free in time, and a deadlock."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """The versions of the schema. `before` is None if the database was empty."""

    before: str | None
    after: str


async def check_schema(database: Database) -> None:
    """Raises UnknownSchema unless the database has just this version."""
    known = await database.value("SELECT to_regclass('alembic_version') IS NOT NULL")
    version = await database.value("SELECT version_num FROM alembic_version") if known else None
    if version != VERSION:
        raise UnknownSchema(version=version, needed=VERSION)


def alembic_config() -> Config:
    # Imported here: Alembic and SQLAlchemy cost 0.3 s and 40 MB, and only `migrate` needs them.
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


async def migrate(url: str, *, patience_s: float = 60.0) -> Migrated:
    """Migrates the database to VERSION. One process at a time: others wait up to `patience_s` seconds.

    For so long it also tries again to get tables that services are at work on. Raises TimeoutError if the lock isn't
    free by then, UnknownSchema for the schema of a newer version.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # see above
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    # asyncpg parses the address, as everywhere else: SQLAlchemy treats `sslmode` differently.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            async with asyncio.timeout(patience_s):
                # Polled: a session that waits in pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
                while not (await connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar():
                    await connection.rollback()
                    await asyncio.sleep(0.1)
            await connection.commit()
            clock = asyncio.get_running_loop().time
            until = clock() + patience_s
            while True:
                try:
                    return await connection.run_sync(_upgrade)
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) not in _BUSY or clock() > until:
                        raise
                    await connection.rollback()
                    await asyncio.sleep(0.2)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> Migrated:
    from alembic import command  # noqa: PLC0415  # see above
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    before = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    config = alembic_config()
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if before is not None and before not in known:
        raise UnknownSchema(version=before, needed=VERSION)
    config.attributes["connection"] = connection
    command.upgrade(config, VERSION)
    connection.commit()
    return Migrated(before, VERSION)
