"""Summaries of all runs: per workflow, of today, and per executor. Each is one statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from flowyard.ids import uuid7
from flowyard.runs.run import State
from flowyard.storage.database import Database
from flowyard.storage.pace import Waits

MOST_COUNTED: Final = 500
_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Activity:
    """One workflow's newest run, and how many runs it had in the last 24 hours, counted up to MOST_COUNTED."""

    last_run: UUID | None
    last_status: State | None
    last_at: datetime | None
    total: int
    succeeded: int
    failed: int
    cancelled: int

    @property
    def still_open(self) -> int:
        return self.total - self.succeeded - self.failed - self.cancelled


@dataclass(frozen=True, slots=True)
class Today:
    """The runs made since `since`, by their status, and the model calls that have ended since then.

    `unknown_cost`: how many of the calls have no known cost.
    """

    since: datetime
    runs: Mapping[str, int]
    calls: int
    known_cost_usd: Decimal
    unknown_cost: int


@dataclass(frozen=True, slots=True)
class Holder:
    """An executor that has claims whose leases aren't over, and how many. `lease_until`: the end of the last one."""

    executor: str
    runs: int
    lease_until: datetime


class Overview:
    """Reads summaries of all runs: per workflow, of today, per executor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def activity(self, names: Collection[str], *, now_ms: int) -> Mapping[str, Activity]:
        """By workflow, for the last 24 hours before `now_ms`, in milliseconds since 1970."""
        # Ids begin with the time at which they were made, so a range of ids is a range of time.
        since = uuid7(now_ms - _DAY_MS, bytes(10))
        rows = await self._database.rows(_ACTIVITY, list(names), since, MOST_COUNTED)
        return {row["name"]: Activity(*list(row)[1:]) for row in rows}

    async def since(self, at: datetime) -> Today:
        """Runs and model calls since `at`, the beginning of the day."""
        first = uuid7(int(at.timestamp() * 1000), bytes(10))
        runs = await self._database.rows("SELECT status, count(*) AS n FROM runs WHERE id >= $1 GROUP BY status", first)
        spent = await self._database.row(_SPENT, at)
        return Today(at, {row["status"]: row["n"] for row in runs}, *spent or (0, Decimal(0), 0))

    async def holders(self) -> list[Holder]:
        rows = await self._database.rows(
            "SELECT executor, count(*) AS runs, max(lease_until) AS lease_until FROM claims"
            " WHERE executor IS NOT NULL AND lease_until > now() GROUP BY executor ORDER BY executor"
        )
        return [Holder(**row) for row in rows]

    async def limit_waits(self) -> list[Waits]:
        """Of all executors, by limit."""
        return [Waits(*row) for row in await self._database.rows(_LIMIT_WAITS)]


_LIMIT_WAITS: Final = """
SELECT name, sum(waiting)::int, max(longest_s), bool_or(rate_limited) FROM model_waits
WHERE seen_at > now() - interval '10 s' GROUP BY name ORDER BY name
"""

_SPENT: Final = """
SELECT count(*), coalesce(sum(cost_usd), 0), count(*) - count(cost_usd) FROM model_calls WHERE at >= $1
"""

# Compares and orders pairs of workflow and id, so that one index is enough. With `workflow = …` and an order by id
# alone, Postgres would search all runs, newest first, for those of a workflow that has few or none.
_ACTIVITY: Final = """
SELECT w.name, last.id, last.status, last.created_at, day.*
FROM unnest($1::text[]) AS w(name)
LEFT JOIN LATERAL (
    SELECT id, status, created_at FROM runs
    WHERE (workflow, id) BETWEEN (w.name, '00000000-0000-0000-0000-000000000000'::uuid)
        AND (w.name, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    ORDER BY workflow DESC, id DESC LIMIT 1
) last ON true
CROSS JOIN LATERAL (
    SELECT count(*), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled')
    FROM (
        SELECT status FROM runs
        WHERE (workflow, id) BETWEEN (w.name, $2::uuid) AND (w.name, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        ORDER BY workflow DESC, id DESC LIMIT $3
    ) newest
) day
"""
