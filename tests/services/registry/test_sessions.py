"""What somebody does on a page comes with their session: with the rights of its key, which the audit log names."""

from __future__ import annotations

import httpx

from flowyard.access import Caller
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys, Sessions
from services.registry.conftest import Registry
from services.registry.test_limited_keys import HAIKU, problem, put


async def session_of(database: Database, *scopes: str, workflows: frozenset[str] | None = None) -> tuple[str, str]:
    """The id of a new key, and the token of a session that was opened with it."""
    info, text = await Keys(database).create("page", frozenset(scopes), workflows=workflows)  # type: ignore[arg-type]
    caller = await Keys(database).verify(text)
    assert isinstance(caller, Caller)
    return info.id, await Sessions(database).open(caller, 60)


def with_session(registry: Registry, token: str) -> httpx.AsyncClient:
    return registry.client_with(f"Session {token}")


async def test_a_session_may_what_its_key_may(registry: Registry, database: Database) -> None:
    _, reader = await session_of(database, "read", "run")
    _, writer = await session_of(database, "write")
    async with with_session(registry, reader) as client:
        assert problem(await put(client)) == (403, "forbidden")
        assert (await client.post("/v1/drafts", json={"text": HAIKU})).json()["valid"]
    async with with_session(registry, writer) as client:
        assert (await put(client)).status_code == 201


async def test_a_session_of_a_key_for_some_workflows_gets_to_no_others(registry: Registry, database: Database) -> None:
    _, token = await session_of(database, "write", workflows=frozenset({"mine"}))
    async with with_session(registry, token) as client:
        assert problem(await put(client)) == (403, "not_for_key")


async def test_the_act_is_that_of_the_key_and_of_the_address_of_the_browser(
    registry: Registry, database: Database
) -> None:
    key_id, token = await session_of(database, "write")
    async with with_session(registry, token) as client:
        await put(client, headers={"x-forwarded-for": "203.0.113.9"})
    row = await database.row("SELECT * FROM audit_entries WHERE key_id = $1 AND act LIKE 'workflow%'", key_id)
    assert row is not None
    assert "203.0.113.9" in str(dict(row))


async def test_a_session_that_is_over_or_of_a_revoked_key_is_none(registry: Registry, database: Database) -> None:
    key_id, token = await session_of(database, "write")
    _, closed = await session_of(database, "write")
    await Sessions(database).close(closed)
    await Keys(database).revoke(key_id)
    for each in (token, closed, "nonsense"):
        async with with_session(registry, each) as client:
            assert (await put(client)).status_code == 401, each


async def test_a_token_isnt_a_key_and_reads_no_metrics(registry: Registry, database: Database) -> None:
    _, token = await session_of(database, "admin")
    async with registry.client_with(f"Bearer {token}") as client:
        assert (await client.get("/v1/workflows")).status_code == 401
    async with with_session(registry, token) as client:
        assert (await client.get("/metrics")).status_code == 401
