"""Agents: who can do work, and was there lately. The database's clock decides who is gone."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import asyncpg

from flowyard.errors import AgentTaken, UnknownAgent
from flowyard.storage.database import Database

AgentKind: TypeAlias = Literal["executor", "http", "nats"]

TTL_S: Final = 60.0
"""How long an agent is known without a heartbeat."""


@dataclass(frozen=True, slots=True)
class NewAgent:
    """Who registers. `capabilities`: what it says that it can do, as JSON."""

    id: str
    name: str
    kind: AgentKind
    version: str
    host: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """`load`: what its last heartbeat told, such as `{"slots": 32, "slots_used": 3}`; empty before the first."""

    id: str
    name: str
    kind: AgentKind
    version: str
    host: str
    capabilities: Mapping[str, Any]
    load: Mapping[str, Any]
    registered_at: datetime
    heartbeat_at: datetime


class Agents:
    """The agents that are there. One whose last sign is older than `ttl_s` is gone, swept or not."""

    def __init__(self, database: Database, *, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._ttl_s = ttl_s

    async def register(self, agent: NewAgent) -> tuple[Agent, bool]:
        """The agent, and whether it is new. One that is there already is brought up to date.

        Raises AgentTaken if one of another kind has the id: nobody takes an executor's place by its name.
        """
        described = agent.name, agent.kind, agent.version, agent.host, dict(agent.capabilities)
        row = await self._database.row(_REGISTER, self._ttl_s, agent.id, *described)
        if row is None:
            raise AgentTaken(agent.id)
        values: dict[str, Any] = dict(row)
        is_new = values.pop("is_new")
        return Agent(**values), is_new

    async def heartbeat(self, agent_id: str, load: Mapping[str, Any]) -> Agent:
        """Raises UnknownAgent: then it has to register again."""
        row = await self._database.row(_HEARTBEAT, self._ttl_s, agent_id, dict(load))
        return _agent(agent_id, row)

    async def get(self, agent_id: str) -> Agent:
        """Raises UnknownAgent."""
        row = await self._database.row(
            f"SELECT {_COLUMNS} FROM agents WHERE {_THERE} AND id = $2", self._ttl_s, agent_id
        )
        return _agent(agent_id, row)

    async def page(self, *, after: str | None = None, limit: int = 50, kind: AgentKind | None = None) -> list[Agent]:
        """By id. `after`: only those whose ids come later."""
        rows = await self._database.rows(_PAGE, self._ttl_s, after, kind, limit)
        return [Agent(**row) for row in rows]

    async def deregister(self, agent_id: str) -> None:
        """Raises UnknownAgent."""
        there = await self._database.value(_DEREGISTER, self._ttl_s, agent_id)
        if not there:
            raise UnknownAgent(agent_id)

    async def sweep(self) -> list[str]:
        """Forgets who is gone, and tells their ids."""
        rows = await self._database.rows(f"DELETE FROM agents WHERE NOT ({_THERE}) RETURNING id", self._ttl_s)
        return [row["id"] for row in rows]


_COLUMNS: Final = "id, name, kind, version, host, capabilities, load, registered_at, heartbeat_at"

_THERE: Final = "heartbeat_at > now() - make_interval(secs => $1)"

_REGISTER: Final = f"""
WITH known AS (SELECT registered_at FROM agents WHERE {_THERE} AND id = $2)
INSERT INTO agents AS a (id, name, kind, version, host, capabilities, load)
VALUES ($2, $3, $4, $5, $6, $7, '{{}}')
ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, version = excluded.version,
    host = excluded.host, capabilities = excluded.capabilities, heartbeat_at = now(),
    registered_at = coalesce((SELECT registered_at FROM known), now())
WHERE a.kind = excluded.kind OR NOT EXISTS (SELECT FROM known)
RETURNING {_COLUMNS}, NOT EXISTS (SELECT FROM known) AS is_new
"""

_HEARTBEAT: Final = f"""
UPDATE agents SET heartbeat_at = now(), load = $3 WHERE {_THERE} AND id = $2 RETURNING {_COLUMNS}
"""

_PAGE: Final = f"""
SELECT {_COLUMNS} FROM agents WHERE {_THERE} AND ($2::text IS NULL OR id > $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY id LIMIT $4
"""

_DEREGISTER: Final = f"""
WITH gone AS (DELETE FROM agents WHERE id = $2 RETURNING heartbeat_at)
SELECT {_THERE} FROM gone
"""


def _agent(agent_id: str, row: asyncpg.Record | None) -> Agent:
    if row is None:
        raise UnknownAgent(agent_id)
    return Agent(**row)
