"""Whoever has a service's password of Postgres reads and writes rows, and nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from flowyard.access import KEY_RANDOM, new_key
from flowyard.bus.subjects import PERMISSIONS
from flowyard.storage.audit import Audit
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import Keys, Sessions
from flowyard.storage.retention import Retention
from flowyard.storage.roles import DATABASE, OWNER, make_roles, role_of
from flowyard.storage.schema import VERSION
from flowyard.storage.workflows import Workflows
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from flowyard_embedded.stack.migration import bring_to_schema
from support.servers import FORGETFUL, execute
from support.upgrade import DUMP

ROOT = Path(__file__).parents[2]
SERVICES = sorted(PERMISSIONS.keys() - {"sandbox"})
"""Those with a database: sandboxes have none."""
PASSWORDS = {role: f"password-of-{role}" for role in (OWNER, *map(role_of, SERVICES))}
FORBIDDEN = (
    "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
    "COPY api_keys FROM PROGRAM 'echo'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE TABLE mine (id integer)",
    "DROP TABLE runs",
    "ALTER TABLE runs DISABLE TRIGGER ALL",
    "TRUNCATE runs",
    "CREATE ROLE another SUPERUSER",
    "ALTER ROLE flowyard_owner PASSWORD 'x'",
    "SET ROLE flowyard_owner",
    "CREATE DATABASE another",
    "UPDATE alembic_version SET version_num = '0001'",
    "DELETE FROM api_keys",
    "INSERT INTO audit SELECT * FROM audit",
    "UPDATE audit SET who = 'nobody'",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "SELECT * FROM audit_entries",
    "UPDATE audit_entries SET who = 'nobody'",
    "DELETE FROM audit_entries",
    "INSERT INTO audit_entries (act, who, objects, at) VALUES ('run.retried', 'x', '{}', now() - interval '1 day')",
    "CREATE OR REPLACE FUNCTION chain_audit(integer) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
)


@pytest.fixture
def server(server_home: Path) -> Iterator[PostgresServer]:
    server = start_postgres(server_home / "postgres", settings=FORGETFUL)
    yield server
    server.process.stop()


def url(server: PostgresServer, role: str, database: str = DATABASE) -> str:
    return server.url_for(role, SecretStr(PASSWORDS[role]), database).get_secret_value()


def made_by_containers(server: PostgresServer) -> None:
    """As the container `roles` does it, at each start."""
    psql = Path(server.process.program.command[0]).with_name("psql")
    names = {role.removeprefix("flowyard_").upper(): password for role, password in PASSWORDS.items()}
    environment = {**names, "MLFLOW": "password-of-mlflow", "PATH": os.defpath}
    source = ROOT / "deploy" / "postgres" / "roles.sql"
    command = [str(psql), "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", str(source)]
    subprocess.run([*command, server.url.get_secret_value()], env=environment, check=True)


@pytest.mark.parametrize("by_containers", [False, True], ids=["flowyard up", "docker compose up"])
async def test_a_service_has_no_right_that_it_does_not_need(server: PostgresServer, *, by_containers: bool) -> None:
    for _ in range(2):
        if by_containers:
            await asyncio.to_thread(made_by_containers, server)
        else:
            await make_roles(server.url.get_secret_value(), PASSWORDS)
        await bring_to_schema(url(server, OWNER))
    for service in SERVICES:
        async with open_database(url(server, role_of(service)), service="forger", most=1) as database:
            for statement in FORBIDDEN:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute(statement)
            await assert_keeps_to_its_rights(database, service)
            assert await database.value("SELECT count(*) FROM runs") == 0
            if service != "gateway":
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await Keys(database).create("forged", frozenset({"admin"}))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(url(server, role_of(service), "postgres"))
    async with open_database(url(server, role_of("gateway")), service="gateway", most=1) as database:
        info, text = await Keys(database).create("mine", frozenset({"run"}))
        assert (await Keys(database).verify(text)) is not None
        await Keys(database).revoke(info.id)


async def assert_keeps_to_its_rights(database: Database, service: str) -> None:
    """Hashes of keys are for who makes keys, sessions for who lets people log in, documents for the catalogue.

    Conversations are for the gateway.
    """
    statements = (
        ("gateway", "SELECT hash FROM api_keys"),
        ("gateway dashboard", "INSERT INTO sessions (hash, key_id, expires_at) SELECT 'x', id, now() FROM api_keys"),
        ("gateway dashboard registry", "SELECT hash, key_id, expires_at FROM sessions"),
        ("gateway", "SELECT * FROM audit"),
        ("gateway", "UPDATE api_keys SET expires_at = NULL"),
        ("gateway", "UPDATE key_pace SET paid_at = now()"),
        ("gateway", "UPDATE chat_sessions SET turns = 0"),
        ("gateway", "UPDATE chat_turns SET number = 1"),
        ("executor", "UPDATE announced_tools SET tools = '[]'"),
        ("registry", "UPDATE definitions SET document = 'flow: {}'"),
        ("registry", "UPDATE workflows SET revision = 1"),
        ("registry", "INSERT INTO revisions (workflow, number, definition) SELECT name, 9, 1 FROM workflows"),
    )
    for users, statement in statements:
        if service in users.split():
            await database.execute(statement)
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute(statement)
    assert await database.value("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 0
    assert await Keys(database).verify(new_key(b"x" * KEY_RANDOM).text) is None
    await Audit(database).chain()
    await Retention(database).delete_acts(days=1)
    if service != "registry":
        await Retention(database).delete_sessions()
    if service != "executor":
        assert await Sessions(database).find("none") is None
    if service == "executor":
        await Retention(database).delete_definitions(older_than_s=0)
        await Retention(database).delete_chats(older_than_s=0)
    if service == "registry":
        await Workflows(database).apply("w", digest="0" * 64, document="flow: {}", concurrency=None, priority=0)
        await Workflows(database).delete("w")


async def test_what_a_release_before_made_as_the_superuser_is_taken_over_in_place(server: PostgresServer) -> None:
    superuser = server.url.get_secret_value()
    await execute(superuser, DUMP.read_text())
    for _ in range(2):
        await make_roles(superuser, PASSWORDS)
        await bring_to_schema(url(server, OWNER))
    async with open_database(url(server, role_of("executor")), service="executor", most=1) as database:
        assert await database.value("SELECT version_num FROM alembic_version") == VERSION
        assert await database.value("SELECT count(*) FROM runs") > 0
        assert (
            await database.value(
                "SELECT count(*) FROM pg_tables WHERE tableowner = 'postgres' AND schemaname = 'public'"
            )
            == 0
        )
        assert await database.rows("SELECT * FROM claim_runs('one', 1, '1 s', '{1}', true)") is not None


async def test_a_statement_ends_although_nobody_cancels_it(database_url: str) -> None:
    async with open_database(database_url, service="test", most=1, timeout_s=2) as database:
        assert await database.value("SHOW statement_timeout") == "7s"
