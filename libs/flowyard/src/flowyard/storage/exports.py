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
    """A run that waits for one target. `tries`: how often the target has refused it. `begun`: how many exports of it
    began since the last one with an outcome, this one included: more than one if a process was killed during one.

    `again`: an earlier export may have reached the target, completely or in part.
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
    """The queue of finished runs to send to each target."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_targets(self, names: Collection[str]) -> dict[str, int]:
        """Queues runs for these targets only, from now on. Returns how many runs were dropped, per other target."""
        await self.add_targets(names)
        await self._database.execute("DELETE FROM export_targets WHERE name <> ALL($1::text[])", sorted(names))
        return {row["target"]: row["runs"] for row in await self._database.rows(_DROP_OTHERS, sorted(names))}

    async def add_targets(self, names: Collection[str]) -> None:
        """Queues runs for these targets, too, from now on."""
        await self._database.execute(_ADD_TARGETS, sorted(names))

    async def take(self, target: str, most: int, *, lease_s: float) -> list[Waiting]:
        """Takes up to `most` runs, the oldest first. No other process gets them for `lease_s` seconds.

        A run whose last export had no outcome is taken first, and alone: it may have killed its process. Counts the
        beginning of each export.
        """
        for only_begun, limit in ((True, 1), (False, most)):
            if rows := await self._database.rows(_TAKE, target, limit, lease_s, only_begun):
                return [Waiting(**row) for row in rows]
        return []

    async def done(self, target: str, waiting: Waiting) -> bool:
        """Removes a run that was sent, or can't be. False, and it stays, if it was retried and has ended again."""
        if await self._database.execute(_DONE, target, waiting.run_id, waiting.finished_at):
            return True
        await self.put_back(target, waiting, untouched=False)
        return False

    async def put_back(self, target: str, waiting: Waiting, *, untouched: bool, pause_s: float = 0.0) -> None:
        """Returns a run to the queue, for `pause_s` seconds later. `untouched`: the target has received none of it."""
        is_new = untouched and not waiting.again
        await self._database.execute(_PUT_BACK, target, waiting.run_id, is_new, pause_s)

    async def refused(self, target: str, waiting: Waiting, *, pause_s: float) -> None:
        """Counts a refusal by the target. The run may be taken again after `pause_s` seconds."""
        await self._database.execute(_REFUSED, target, waiting.run_id, waiting.finished_at, pause_s)

    async def drop_oldest(self, target: str, *, keep: int) -> int:
        """Removes all but the newest `keep` runs, and returns how many it has removed."""
        return await self._database.execute(_DROP_OLDEST, target, keep)

    async def installation(self) -> str:
        """The id of this database. It marks our exports, as other installations may export to the same system."""
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
