"""Finished runs that wait to be sent to other systems. A trigger on `runs` puts them here, once per target.

A row stays until its run was taken by the target as it is now: a run that is retried and ends again meanwhile has
another `finished_at`, and is sent again. Several processes may send: who takes a row has it for a while.
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
    """One run for one target. `again`: somebody has begun to send it before, and nobody knows how far that came.

    `tries`: how often the target has refused it.
    """

    run_id: UUID
    finished_at: datetime
    tries: int
    again: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """`lag_s`: for how long the one that ended first has been waiting; 0 where nothing waits."""

    runs: int
    lag_s: float


class Exports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_targets(self, names: Collection[str]) -> dict[str, int]:
        """From now on runs are kept for these, and for no others: how many were waiting for each of those."""
        await self.add_targets(names)
        await self._database.execute("DELETE FROM export_targets WHERE name <> ALL($1::text[])", sorted(names))
        return {row["target"]: row["runs"] for row in await self._database.rows(_DROP_OTHERS, sorted(names))}

    async def add_targets(self, names: Collection[str]) -> None:
        """From now on runs are kept for these too."""
        await self._database.execute(_ADD_TARGETS, sorted(names))

    async def take(self, target: str, most: int, *, lease_s: float) -> list[Waiting]:
        """The runs that were made first. They are the caller's for `lease_s` seconds."""
        rows = await self._database.rows(_TAKE, target, most, lease_s)
        return [Waiting(row["run_id"], row["finished_at"], row["tries"], row["again"]) for row in rows]

    async def done(self, target: str, waiting: Waiting) -> bool:
        """It was sent, or never will be. False if the run has ended once more since it was taken: then it waits on."""
        if await self._database.execute(_DONE, target, waiting.run_id, waiting.finished_at):
            return True
        await self.put_back(target, waiting, untouched=False)
        return False

    async def put_back(self, target: str, waiting: Waiting, *, untouched: bool, pause_s: float = 0.0) -> None:
        """Whoever comes after the pause may take it. `untouched`: the target has heard nothing of it."""
        is_new = untouched and not waiting.again
        await self._database.execute(_PUT_BACK, target, waiting.run_id, is_new, pause_s)

    async def refused(self, target: str, waiting: Waiting, *, pause_s: float) -> None:
        """Once more. It may be taken after a pause."""
        await self._database.execute(_REFUSED, target, waiting.run_id, waiting.finished_at, pause_s)

    async def drop_oldest(self, target: str, *, keep: int) -> int:
        """All but the newest `keep`; how many those were."""
        return await self._database.execute(_DROP_OLDEST, target, keep)

    async def backlog(self, target: str) -> Backlog:
        row = await self._database.row(_BACKLOG, target)
        return Backlog(row["runs"], row["lag_s"]) if row is not None else Backlog(0, 0.0)


_ADD_TARGETS: Final = """
INSERT INTO export_targets (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING
"""

_DROP_OTHERS: Final = """
WITH dropped AS (DELETE FROM exports WHERE target <> ALL($1::text[]) RETURNING target)
SELECT target, count(*) AS runs FROM dropped GROUP BY target
"""

# By the run's id, which begins with the time of its making: that order is the primary key's.
_TAKE: Final = """
WITH next AS (
    SELECT target, run_id, taken_until IS NOT NULL AS again FROM exports
    WHERE target = $1 AND (taken_until IS NULL OR taken_until <= now())
    ORDER BY run_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE exports e SET taken_until = now() + make_interval(secs => $3)
FROM next WHERE e.target = next.target AND e.run_id = next.run_id
RETURNING e.run_id, e.finished_at, e.tries, next.again
"""

_DONE: Final = "DELETE FROM exports WHERE target = $1 AND run_id = $2 AND finished_at = $3"

_PUT_BACK: Final = """
UPDATE exports SET taken_until = CASE WHEN $3 THEN NULL ELSE now() + make_interval(secs => $4) END
WHERE target = $1 AND run_id = $2
"""

_REFUSED: Final = """
UPDATE exports SET tries = CASE WHEN finished_at = $3 THEN tries + 1 ELSE tries END,
    taken_until = now() + make_interval(secs => $4)
WHERE target = $1 AND run_id = $2
"""

_DROP_OLDEST: Final = """
DELETE FROM exports WHERE target = $1 AND run_id IN (
    SELECT run_id FROM exports WHERE target = $1 ORDER BY run_id DESC OFFSET $2
)
"""

_BACKLOG: Final = """
SELECT count(*) AS runs, greatest(coalesce(extract(epoch FROM now() - min(finished_at)), 0), 0)::float8 AS lag_s
FROM exports WHERE target = $1
"""
