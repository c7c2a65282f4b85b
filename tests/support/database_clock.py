"""A Postgres whose clock a test sets: functions of a schema of its own stand before those of Postgres."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

_INSTALL: Final = """
CREATE SCHEMA clock;
CREATE TABLE clock.setting (at timestamptz);
INSERT INTO clock.setting VALUES (NULL);
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT coalesce(at, pg_catalog.clock_timestamp()) FROM clock.setting';
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock.clock_timestamp()';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
END $$;
"""


class DatabaseClock:
    """Of one database, for connections that are opened after `install`. It stands still at what it was set to."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def install(self) -> None:
        await self._execute(_INSTALL)

    async def set(self, at: datetime) -> None:
        await self._execute("UPDATE clock.setting SET at = $1", at)

    async def _execute(self, statement: str, *args: object) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement, *args)
        finally:
            await connection.close()
