"""What profiles are computed from: finished runs, and their events without the texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from flowyard.ids import uuid7
from flowyard.runs.entries import without_texts
from flowyard.runs.run import Entry, State
from flowyard.storage.database import Database
from flowyard.storage.repeats import whole_entries

_SLACK_MS: Final = 5 * 60 * 1000
"""How far the clock of a service may be off."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RunTimes:
    """When a finished run was made, and when it ended."""

    id: UUID
    workflow: str
    status: State
    created_at: datetime
    finished_at: datetime


class Profiles:
    """Reads the runs and events from which profiles are computed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def finished(self, *, workflows: Collection[str] | None, since: datetime | None, most: int) -> list[RunTimes]:
        """Up to `most` runs that have ended after an executor had worked on them, the newest first.

        `workflows`: only runs of these; None: of all. `since`: only those made at this time or later.
        """
        # The id is made by the service that takes the run, by its own clock: the index only finds about where to begin.
        after = uuid7(max(0, _ms(since) - _SLACK_MS) if since is not None else 0, bytes(10))
        if workflows is None:
            rows = await self._database.rows(_NEWEST, after, since, most)
        else:
            rows = await self._database.rows(_NEWEST_OF, list(workflows), after, since, most)
        return [RunTimes(**row) for row in rows]

    async def entries(self, run_id: UUID) -> list[Entry]:
        """All events of a run, in order, without the texts that steps and models wrote: they may be 100 MB."""
        entries: list[Entry] = []
        after = 0
        while rows := await self._database.rows(_PAGE, run_id, after, _ROWS):
            whole, _ = await whole_entries(self._database, run_id, rows, after=after, most_bytes=None)
            entries += map(without_texts, whole)
            after = rows[-1]["seq"]
        return entries


_ROWS: Final = 200
_PAGE: Final = "SELECT seq, entries FROM events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"


_NEWEST: Final = """
SELECT id, workflow, status, created_at, finished_at FROM runs
WHERE id >= $1 AND finished_at IS NOT NULL AND started_at IS NOT NULL AND ($2::timestamptz IS NULL OR created_at >= $2)
ORDER BY id DESC LIMIT $3
"""
# Compares pairs, so that the index by workflow and id is enough: see `overview`.
_NEWEST_OF: Final = """
SELECT newest.* FROM unnest($1::text[]) AS own(name) CROSS JOIN LATERAL (
    SELECT id, workflow, status, created_at, finished_at FROM runs
    WHERE (workflow, id) BETWEEN (own.name, $2::uuid) AND (own.name, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        AND finished_at IS NOT NULL AND started_at IS NOT NULL AND ($3::timestamptz IS NULL OR created_at >= $3)
    ORDER BY workflow DESC, id DESC LIMIT $4
) newest
ORDER BY newest.id DESC LIMIT $4
"""


def _ms(at: datetime) -> int:
    return int((at - _FIRST).total_seconds() * 1000)
