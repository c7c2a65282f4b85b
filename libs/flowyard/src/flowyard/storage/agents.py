"""Agents: processes that can do work and send heartbeats. The database's clock decides which are gone."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import asyncpg

from flowyard.access import Actor
from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.storage.audit import act_columns, act_of
from flowyard.storage.database import Database

AgentKind: TypeAlias = Literal["executor", "http", "nats"]

TTL_S: Final = 60.0
"""Seconds after its last heartbeat until an agent counts as gone."""
SILENT_S: Final = 10.0
"""Seconds after its last heartbeat until an executor counts as one that doesn't answer; it sends one every three."""


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent that registers. `capabilities`: what it can do, by its own account, as JSON."""

    id: str
    name: str
    kind: AgentKind
    version: str
    host: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    key_id: str | None = None
    """The API key to which its id belongs. None: of an executor, which writes here itself."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered agent. `load`: as in its last heartbeat, such as `{"slots": 32}`; empty before the first.

    `silent_s`: seconds since its last heartbeat or registration, by the database's clock.
    """

    id: str
    name: str
    kind: AgentKind
    version: str
    host: str
    capabilities: Mapping[str, Any]
    load: Mapping[str, Any]
    registered_at: datetime
    heartbeat_at: datetime
    silent_s: float


class Agents:
    """The registered agents. An agent whose last heartbeat is older than `ttl_s` seconds is gone, swept or not."""

    def __init__(self, database: Database, *, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._ttl_s = ttl_s

    async def register(self, agent: NewAgent) -> tuple[Agent, bool]:
        """Adds or updates the agent. Returns it, and whether it is new.

        Raises AgentTaken if an agent of another key has the id. An executor gets its own in any case.
        """
        values = agent.name, agent.kind, agent.version, agent.host, dict(agent.capabilities), agent.key_id
        row = await self._database.row(_REGISTER, self._ttl_s, agent.id, *values)
        if row is None:
            raise AgentTaken(agent.id)
        stored: dict[str, Any] = dict(row)
        is_new = stored.pop("is_new")
        return Agent(**stored), is_new

    async def heartbeat(self, agent_id: str, load: Mapping[str, Any], *, key_id: str | None) -> Agent:
        """Records a heartbeat: the agent stays for another `ttl_s`. `key_id`: the API key with which it registered.

        Raises UnknownAgent if the agent must register again; AgentTaken if it registered with another key.
        """
        row = await self._database.row(_HEARTBEAT, self._ttl_s, agent_id, dict(load), key_id)
        if row is None:
            await self.get(agent_id)
            raise AgentTaken(agent_id)
        return Agent(**row)

    async def get(self, agent_id: str) -> Agent:
        """Raises UnknownAgent."""
        row = await self._database.row(
            f"SELECT {_COLUMNS} FROM agents WHERE {_THERE} AND id = $2", self._ttl_s, agent_id
        )
        return _agent(agent_id, row)

    async def page(self, *, after: str | None = None, limit: int = 50, kind: AgentKind | None = None) -> list[Agent]:
        """Up to `limit` agents, in the order of their ids. `after`: only agents whose ids are greater."""
        rows = await self._database.rows(_PAGE, self._ttl_s, after, kind, limit)
        return [Agent(**row) for row in rows]

    async def silent_executors(self) -> list[str]:
        """The names of the executors that send no heartbeats any more, and have neither deregistered nor been swept."""
        rows = await self._database.rows(_SILENT_EXECUTORS, SILENT_S)
        return [row["name"] for row in rows]

    async def deregister(self, agent_id: str, *, by: Actor | None = None) -> None:
        """Raises UnknownAgent."""
        was_there = await self._database.value(_DEREGISTER, self._ttl_s, agent_id, *act_columns(by))
        if not was_there:
            raise UnknownAgent(agent_id)

    async def sweep(self) -> list[str]:
        """Deletes the agents that are gone, and returns their ids."""
        rows = await self._database.rows(f"DELETE FROM agents WHERE NOT ({_THERE}) RETURNING id", self._ttl_s)
        return [row["id"] for row in rows]


_COLUMNS: Final = (
    "id, name, kind, version, host, capabilities, load, registered_at, heartbeat_at,"
    " extract(epoch FROM now() - heartbeat_at)::float8 AS silent_s"
)

_THERE: Final = "heartbeat_at > now() - make_interval(secs => $1)"

# Agents that registered at the release before have no key yet.
_OWNED_BY: Final = "(a.key_id IS NOT DISTINCT FROM {}::text OR a.key_id IS NULL AND a.kind <> 'executor')"

_REGISTER: Final = f"""
WITH known AS (SELECT registered_at FROM agents WHERE {_THERE} AND id = $2)
INSERT INTO agents AS a (id, name, kind, version, host, capabilities, load, key_id)
VALUES ($2, $3, $4, $5, $6, $7, '{{}}', $8)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, version = excluded.version,
    host = excluded.host, capabilities = excluded.capabilities, heartbeat_at = now(), key_id = excluded.key_id,
    registered_at = coalesce((SELECT registered_at FROM known), now())
WHERE {_OWNED_BY.format("$8")} OR $8::text IS NULL OR NOT EXISTS (SELECT FROM known)
RETURNING {_COLUMNS}, NOT EXISTS (SELECT FROM known) AS is_new
"""

_HEARTBEAT: Final = f"""
UPDATE agents a SET heartbeat_at = now(), load = $3
WHERE {_THERE} AND id = $2 AND {_OWNED_BY.format("$4")} RETURNING {_COLUMNS}
"""

_PAGE: Final = f"""
SELECT {_COLUMNS} FROM agents WHERE {_THERE} AND ($2::text IS NULL OR id > $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY id LIMIT $4
"""

_SILENT_EXECUTORS: Final = """
SELECT name FROM agents WHERE kind = 'executor' AND heartbeat_at < now() - make_interval(secs => $1) ORDER BY name
"""

_DEREGISTER: Final = f"""
WITH gone AS (DELETE FROM agents WHERE id = $2 RETURNING id, heartbeat_at),
act AS ({act_of("agent.removed", 3, "gone", objects="ARRAY[id]")})
SELECT {_THERE} FROM gone
"""


def _agent(agent_id: str, row: asyncpg.Record | None) -> Agent:
    if row is None:
        raise UnknownAgent(agent_id)
    return Agent(**row)
