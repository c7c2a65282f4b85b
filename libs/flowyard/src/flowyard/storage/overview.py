"""What the list of workflows shows of their runs, in one statement that never reads more than some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flowyard.ids import uuid7
from flowyard.runs.run import State
from flowyard.storage.database import Database

MOST_COUNTED: Final = 500
_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Activity:
    """Of one workflow: its newest run, and its runs of the last 24 hours, of which MOST_COUNTED are looked at."""

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


class Overview:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def activity(self, names: Collection[str], *, now_ms: int) -> Mapping[str, Activity]:
        """By workflow. Ids begin with the time of their making, so a range of them is a range of time."""
        since = uuid7(now_ms - _DAY_MS, bytes(10))
        rows = await self._database.rows(_ACTIVITY, list(names), since, MOST_COUNTED)
        return {row["name"]: Activity(*list(row)[1:]) for row in rows}


# Pairs are compared and ordered by, so that one index alone will do. By `workflow = …` and the newest id, Postgres
# would look for the runs of a workflow that has few, or none, among everybody's.
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
