"""The schema's version: `migrate` brings a database to it, `check_schema` refuses any other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from flowyard.errors import UnknownSchema
from flowyard.storage.database import Database

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

VERSION: Final = "0002"
"""Of the newest migration. Written here so that services need not import Alembic to know it."""
_LOCK: Final = 4_611_921_703
"""The advisory lock under which migrations run: any number that nobody else uses."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """`before` is None for a database that was empty."""

    before: str | None
    after: str


async def check_schema(database: Database) -> None:
    """Raises UnknownSchema unless the database has just this version."""
    known = await database.value("SELECT to_regclass('alembic_version') IS NOT NULL")
    found = await database.value("SELECT version_num FROM alembic_version") if known else None
    if found != VERSION:
        raise UnknownSchema(found=found, needed=VERSION)


def alembic_config() -> Config:
    # Inline: only what migrates pays for Alembic and SQLAlchemy, 0.3 s and 40 MB.
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


async def migrate(url: str, *, patience_s: float = 60.0) -> Migrated:
    """Brings the database to VERSION. Only one process does so at a time; the others wait up to `patience_s`.

    Raises TimeoutError if the lock isn't free by then, UnknownSchema for the schema of a newer version.
    """
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # inline: see above
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    # By asyncpg's own reading of the address, as everywhere else: SQLAlchemy has another idea of `sslmode`.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            async with asyncio.timeout(patience_s):
                # Polled: whoever waits inside pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
                while not (await connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar():
                    await connection.rollback()
                    await asyncio.sleep(0.1)
            await connection.commit()
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> Migrated:
    from alembic import command  # noqa: PLC0415  # inline: see above
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    before = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    config = alembic_config()
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if before is not None and before not in known:
        raise UnknownSchema(found=before, needed=VERSION)
    config.attributes["connection"] = connection
    command.upgrade(config, VERSION)
    connection.commit()
    return Migrated(before, VERSION)
