"""The tools of executors that aren't built in, as these announce them, so that documents can be checked elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from flowyard.storage.agents import TTL_S
from flowyard.storage.database import Database

AGAIN_S: Final = 300.0
"""Seconds after which an executor announces its tools again, also if they are the same."""
_FORGET: Final = timedelta(seconds=3 * AGAIN_S)


@dataclass(frozen=True, slots=True)
class AnnouncedSource:
    """What an executor has said of a source. `tools`: facts as data, by its own account."""

    executor: str
    source: str
    tools: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Announced:
    """`announcements`: in a fixed order, also of executors that have just gone: others may take their places.

    `executors`: those that are there.
    """

    announcements: Sequence[AnnouncedSource]
    executors: frozenset[str]


class AnnouncedTools:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def announce(self, executor: str, sources: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """From now on, the executor has these sources, and no others, with these tools. Raises Unavailable."""
        await self._database.execute(_ANNOUNCE, executor, dict(sources), _FORGET)

    async def read(self) -> Announced:
        """Raises Unavailable."""
        rows = await self._database.rows(_READ, _FORGET)
        there = await self._database.rows(_THERE, TTL_S)
        return Announced([AnnouncedSource(**row) for row in rows], frozenset(row["id"] for row in there))


_ANNOUNCE: Final = """
WITH given AS (SELECT key AS source, value AS tools FROM json_each($2)),
gone AS (
    DELETE FROM announced_tools
    WHERE executor = $1 AND source NOT IN (SELECT source FROM given) OR announced_at < now() - $3::interval
)
INSERT INTO announced_tools (executor, source, tools) SELECT $1, source, tools FROM given
ON CONFLICT (executor, source) DO UPDATE SET tools = excluded.tools, announced_at = now()
"""

_READ: Final = """
SELECT executor, source, tools FROM announced_tools WHERE announced_at > now() - $1::interval ORDER BY executor, source
"""

_THERE: Final = """
SELECT id FROM agents WHERE kind = 'executor' AND heartbeat_at > now() - make_interval(secs => $1)
"""
