"""Finished runs that wait to be exported to other systems. A trigger on `runs` inserts them, once per target.

A row is deleted when the target has accepted the run as it is now: a run that was retried and has ended again has
another `finished_at`, and is sent again. Several processes may export: a row that one of them takes is leased to it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flowyard.storage.database import Database


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits for one target. `tries`: how often the target has refused it. `begun`: how often its export was
    begun since the last outcome, with this time: more than once if a process has ended in the middle.

    `again`: it was taken before, and the target may have received it, or a part of it.
    """

    run_id: UUID
    finished_at: datetime
    tries: int
    again: bool
    begun: int = 1


@dataclass(frozen=True, slots=True)
class ExportBacklog:
    """How many runs wait for a target. `lag_s`: how many seconds ago the first of them ended; 0 if there is none."""

    runs: int
    lag_s: float


class Exports:
    """Answers which finished runs still have to be sent to which target."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_targets(self, names: Collection[str]) -> dict[str, int]:
        """From now on runs are kept for these targets only. By target that was dropped: how many runs waited for it."""
        await self.add_targets(names)
        await self._database.execute("DELETE FROM export_targets WHERE name <> ALL($1::text[])", sorted(names))
        return {row["target"]: row["runs"] for row in await self._database.rows(_DROP_OTHERS, sorted(names))}

    async def add_targets(self, names: Collection[str]) -> None:
        """From now on runs are kept for these targets, too."""
        await self._database.execute(_ADD_TARGETS, sorted(names))

    async def take(self, target: str, most: int, *, lease_s: float) -> list[Waiting]:
        """Up to `most` runs, those that were made first. No other process gets them for `lease_s` seconds.

        One whose export was begun and has had no outcome comes first, and alone: it may have killed its process. That
        it is begun is counted at once.
        """
        for only_begun, limit in ((True, 1), (False, most)):
            if rows := await self._database.rows(_TAKE, target, limit, lease_s, only_begun):
                return [Waiting(**row) for row in rows]
        return []

    async def done(self, target: str, waiting: Waiting) -> bool:
        """Removes a run that was sent, or never will be. False if it has ended again since it was taken: it stays."""
        if await self._database.execute(_DONE, target, waiting.run_id, waiting.finished_at):
            return True
        await self.put_back(target, waiting, untouched=False)
        return False

    async def put_back(self, target: str, waiting: Waiting, *, untouched: bool, pause_s: float = 0.0) -> None:
        """It may be taken again after `pause_s` seconds. `untouched`: the target can't have received any of it."""
        is_new = untouched and not waiting.again
        await self._database.execute(_PUT_BACK, target, waiting.run_id, is_new, pause_s)

    async def refused(self, target: str, waiting: Waiting, *, pause_s: float) -> None:
        """Counts that the target has refused it. It may be taken again after `pause_s` seconds."""
        await self._database.execute(_REFUSED, target, waiting.run_id, waiting.finished_at, pause_s)

    async def drop_oldest(self, target: str, *, keep: int) -> int:
        """Removes all but the newest `keep` runs, and returns how many it has removed."""
        return await self._database.execute(_DROP_OLDEST, target, keep)

    async def installation(self) -> str:
        """The id of this database: others may export to the same place."""
        return str(await self._database.value("SELECT installation_id()"))

    async def oldest_finished(self) -> datetime | None:
        """When the oldest of all finished runs was submitted; None: there is none."""
        oldest: datetime | None = await self._database.value(_OLDEST_FINISHED)
        return oldest

    async def backlog(self, target: str) -> ExportBacklog:
        row = await self._database.row(_BACKLOG, target)
        return ExportBacklog(row["runs"], row["lag_s"]) if row is not None else ExportBacklog(0, 0.0)


_ADD_TARGETS: Final = """
INSERT INTO export_targets (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING
"""

_DROP_OTHERS: Final = """
WITH dropped AS (DELETE FROM exports WHERE target <> ALL($1::text[]) RETURNING target)
SELECT target, count(*) AS runs FROM dropped GROUP BY target
"""

# In the order of the primary key: a run's id begins with the time at which it was made.
_TAKE: Final = """
WITH next AS (
    SELECT target, run_id, taken_until IS NOT NULL AS again FROM exports
    WHERE target = $1 AND (taken_until IS NULL OR taken_until <= now()) AND (begun > 0) = $4
    ORDER BY run_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE exports e SET taken_until = now() + make_interval(secs => $3), begun = e.begun + 1
FROM next WHERE e.target = next.target AND e.run_id = next.run_id
RETURNING e.run_id, e.finished_at, e.tries, next.again, e.begun
"""

_DONE: Final = "DELETE FROM exports WHERE target = $1 AND run_id = $2 AND finished_at = $3"

_PUT_BACK: Final = """
UPDATE exports SET taken_until = CASE WHEN $3 THEN NULL ELSE now() + make_interval(secs => $4) END, begun = 0
WHERE target = $1 AND run_id = $2
"""

_REFUSED: Final = """
UPDATE exports SET tries = CASE WHEN finished_at = $3 THEN tries + 1 ELSE tries END,
    taken_until = now() + make_interval(secs => $4), begun = 0
WHERE target = $1 AND run_id = $2
"""

_DROP_OLDEST: Final = """
DELETE FROM exports WHERE target = $1 AND run_id IN (
    SELECT run_id FROM exports WHERE target = $1 ORDER BY run_id DESC OFFSET $2
)
"""

# In the order of the ids, which begin with the time at which the run was made.
_OLDEST_FINISHED: Final = "SELECT created_at FROM runs WHERE finished_at IS NOT NULL ORDER BY id LIMIT 1"

_BACKLOG: Final = """
SELECT count(*) AS runs, greatest(coalesce(extract(epoch FROM now() - min(finished_at)), 0), 0)::float8 AS lag_s
FROM exports WHERE target = $1
"""
