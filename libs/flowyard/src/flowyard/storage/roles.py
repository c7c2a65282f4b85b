"""Roles in a Postgres of our own: an owner of the tables, and one role per service, which reads and writes rows."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from flowyard.storage.database import UNREACHABLE, not_connected

DATABASE: Final = "flowyard"
OWNER: Final = "flowyard_owner"
SERVICES: Final = "flowyard"
"""The role of which the roles of all services are members."""
KEY_MAKERS: Final = "flowyard_gateway"
"""The role that may make and revoke API keys."""
_CATALOGUE: Final = "flowyard_registry"
_RECEIVERS: Final = f"{KEY_MAKERS}, {_CATALOGUE}"
"""The roles that record what came for triggers: webhooks, and what needs no door."""
_NOTIFIERS: Final = _CATALOGUE
"""The role that sends notifications."""
_DOORKEEPERS: Final = "flowyard_dashboard"
_SWEEPERS: Final = "flowyard_executor"

_EARLIER_DATABASE: Final = "postgres"
"""The database in which earlier releases had their tables."""


def role_of(service: str) -> str:
    return f"{SERVICES}_{service}"


async def make_roles(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Makes our database and our roles; changes only what is different. `passwords`: of OWNER and of each service.

    What an earlier release has made in the database `postgres`, as the superuser, becomes our database, of OWNER.
    Nobody else may use the server meanwhile. Raises Unavailable, WrongDatabase.
    """
    async with _connection(superuser_url, "template1") as server:
        await _make_roles(server, passwords)
        databases = {row["datname"] for row in await server.fetch("SELECT datname FROM pg_database")}
        if DATABASE not in databases:
            if await _has_tables(superuser_url):
                await server.execute(f"ALTER DATABASE {_EARLIER_DATABASE} RENAME TO {DATABASE}")
                databases.discard(_EARLIER_DATABASE)
            else:
                await server.execute(f"CREATE DATABASE {DATABASE}")
        if _EARLIER_DATABASE not in databases:
            # Tools expect that it is there.
            await server.execute(f"CREATE DATABASE {_EARLIER_DATABASE}")
        await server.execute(_DATABASE_RIGHTS)
    async with _connection(superuser_url, DATABASE) as database, database.transaction():
        for row in await database.fetch(_FOREIGN_OBJECTS):
            await database.execute(row["statement"])
        await database.execute(_RIGHTS)


async def limit_services(owner_url: str) -> None:
    """Revokes rights of services: only the gateway may create API keys, only gateway and dashboard sessions, only the
    registry may change documents and triggers, and only gateway and registry record deliveries. So a broken-in
    executor, which talks to the outside, can do none of these.

    To be called after each migration. Does nothing if the roles aren't there. Raises Unavailable, WrongDatabase.
    """
    async with _connection(owner_url) as database:
        wanted = [SERVICES, KEY_MAKERS, _SWEEPERS, _DOORKEEPERS, _CATALOGUE]
        if await database.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1)", wanted) == len(wanted):
            await database.execute(_LIMITS)


async def _make_roles(server: asyncpg.Connection[asyncpg.Record], passwords: Mapping[str, str]) -> None:
    # No password gets into Postgres' log.
    await server.execute("SET log_statement = 'none'; SET log_min_error_statement = 'panic'")
    for name in (SERVICES, *passwords):
        if not await server.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
            await server.execute(f"CREATE ROLE {name}")
    for name, password in passwords.items():
        statement = await server.fetchval(
            "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", name, password
        )
        await server.execute(statement)
        if name != OWNER:
            await server.execute(f"GRANT {SERVICES} TO {name}")


async def _has_tables(superuser_url: str) -> bool:
    async with _connection(superuser_url, _EARLIER_DATABASE) as earlier:
        return bool(await earlier.fetchval("SELECT to_regclass('public.alembic_version') IS NOT NULL"))


@asynccontextmanager
async def _connection(url: str, database: str | None = None) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    database = database or urlsplit(url).path.lstrip("/")
    try:
        connection = await asyncpg.connect(url, database=database, timeout=10, command_timeout=30)
        try:
            # Else it would tell of each member that there is already.
            await connection.execute("SET client_min_messages = 'warning'")
            yield connection
        finally:
            await connection.close(timeout=2)
    except (asyncpg.PostgresError, *UNREACHABLE) as error:
        raise not_connected(url, error) from error


_DATABASE_RIGHTS: Final = f"""
ALTER DATABASE {DATABASE} OWNER TO {OWNER};
REVOKE ALL ON DATABASE {DATABASE}, {_EARLIER_DATABASE}, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {SERVICES};
"""

_RIGHTS: Final = f"""
GRANT USAGE, CREATE ON SCHEMA public TO {OWNER};
GRANT USAGE ON SCHEMA public TO {SERVICES};
ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {SERVICES};
ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {SERVICES};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {SERVICES};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {SERVICES};
"""

# Who can read the hash of a key, write a session or change a document is a step nearer to an administrator. Only the
# registry publishes events. Executors delete what is old: expired sessions, and documents without runs. The gateway
# deletes the sessions of a revoked key, and the registry accepts sessions that the gateway forwards.
_LIMITS: Final = f"""
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {SERVICES};
REVOKE ALL ON api_keys, sessions FROM {SERVICES};
GRANT SELECT (id, name, scopes, workflows, rate, created_at, expires_at, last_used_at, revoked_at, old_until)
    ON api_keys TO {SERVICES};
GRANT SELECT, INSERT, UPDATE ON api_keys TO {KEY_MAKERS};
GRANT SELECT (key_id, expires_at), UPDATE (expires_at), DELETE ON sessions TO {KEY_MAKERS};
REVOKE ALL ON audit_entries, audit FROM {SERVICES};
GRANT INSERT (act, key_id, who, address, workflow, objects, details) ON audit_entries TO {SERVICES};
GRANT SELECT ON audit TO {KEY_MAKERS};
REVOKE INSERT, UPDATE, DELETE ON key_pace FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON key_pace TO {KEY_MAKERS};
GRANT SELECT (expires_at), DELETE ON sessions TO {_SWEEPERS};
GRANT SELECT, INSERT, DELETE ON sessions TO {_DOORKEEPERS}, {KEY_MAKERS};
GRANT SELECT (hash, key_id, expires_at) ON sessions TO {_CATALOGUE};
REVOKE INSERT, UPDATE, DELETE ON definitions, revisions, workflows FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON definitions, revisions, workflows TO {_CATALOGUE};
GRANT DELETE ON definitions TO {_SWEEPERS};
REVOKE UPDATE ON notifications FROM {SERVICES};
REVOKE INSERT, UPDATE, DELETE ON receivers FROM {SERVICES};
GRANT UPDATE ON notifications TO {_NOTIFIERS};
GRANT INSERT, UPDATE ON receivers TO {_NOTIFIERS};
GRANT DELETE ON receivers TO {_SWEEPERS};
REVOKE INSERT, UPDATE, DELETE ON triggers, deliveries FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON triggers TO {_CATALOGUE};
GRANT INSERT, UPDATE ON deliveries TO {_RECEIVERS};
GRANT DELETE ON deliveries TO {_SWEEPERS};
REVOKE UPDATE, DELETE ON run_ends FROM {SERVICES};
GRANT UPDATE, DELETE ON run_ends TO {_CATALOGUE};
GRANT DELETE ON run_ends TO {_SWEEPERS};
REVOKE INSERT, UPDATE, DELETE ON event_relays FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON event_relays TO {_CATALOGUE};
REVOKE INSERT, UPDATE, DELETE ON chat_sessions, chat_turns FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON chat_sessions, chat_turns TO {KEY_MAKERS};
GRANT DELETE ON chat_sessions, chat_turns TO {_SWEEPERS};
REVOKE INSERT, UPDATE, DELETE ON announced_tools FROM {SERVICES};
GRANT INSERT, UPDATE, DELETE ON announced_tools TO {_SWEEPERS};
"""

# Sequences of columns and types of tables follow their table.
_FOREIGN_OBJECTS: Final = f"""
WITH made AS (
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind,
        oid::regclass::text AS name, relowner AS owner, 'pg_class'::regclass AS class, oid
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
    UNION ALL
    SELECT 'ROUTINE', oid::regprocedure::text, proowner, 'pg_proc'::regclass, oid
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'TYPE', oid::regtype::text, typowner, 'pg_type'::regclass, oid
    FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
)
SELECT format('ALTER %s %s OWNER TO {OWNER}', kind, name) AS statement FROM made
WHERE owner <> '{OWNER}'::regrole AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype IN ('a', 'i', 'e')
)
"""
