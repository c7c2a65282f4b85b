"""Deletes what is old: finished runs with all that belongs to them, documents without runs, days, sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flowyard.storage.database import Database

BATCH: Final = 500
"""Runs that one statement deletes: few enough that no other statement waits for it noticeably."""


class Retention:
    """Deletes old rows in small batches. Several processes may do so at once: none waits for another."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_runs(self, *, older_than_s: float, most: int = BATCH) -> Mapping[str, int]:
        """Up to `most` runs that have ended more than `older_than_s` seconds ago. By kind: how many rows it deleted."""
        row = await self._database.row(_DELETE_RUNS, older_than_s, most)
        return dict(row) if row is not None else {}

    async def delete_definitions(self, *, older_than_s: float) -> int:
        """Documents to which no revision and no run refers. Returns how many."""
        return await self._database.execute(_DELETE_DEFINITIONS, older_than_s)

    async def delete_days(self, *, older_than_s: float) -> int:
        """The daily spending of days that are over. Returns how many rows."""
        return await self._database.execute(_DELETE_DAYS, older_than_s)

    async def delete_sessions(self) -> int:
        """Expired sessions of the dashboard. Returns how many."""
        return await self._database.execute("DELETE FROM sessions WHERE expires_at < now()")


# In the order of the ids, which begin with the time at which the run was made.
_DELETE_RUNS: Final = """
WITH old AS (
    SELECT id FROM runs
    WHERE created_at < now() - make_interval(secs => $1) AND finished_at < now() - make_interval(secs => $1)
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
),
e AS (DELETE FROM events USING old WHERE run_id = old.id RETURNING 1),
s AS (DELETE FROM steps USING old WHERE run_id = old.id RETURNING 1),
m AS (DELETE FROM step_parts USING old WHERE run_id = old.id RETURNING 1),
x AS (DELETE FROM exports USING old WHERE run_id = old.id RETURNING 1),
r AS (DELETE FROM runs USING old WHERE runs.id = old.id RETURNING 1)
SELECT (SELECT count(*) FROM r) AS runs, (SELECT count(*) FROM e) AS events, (SELECT count(*) FROM s) AS steps,
    (SELECT count(*) FROM m) AS model_calls, (SELECT count(*) FROM x) AS exports
"""

_DELETE_DAYS: Final = """
WITH reservations AS (DELETE FROM daily_reservations WHERE day < (now() - make_interval(secs => $1))::date)
DELETE FROM daily_spending WHERE day < (now() - make_interval(secs => $1))::date
"""

_DELETE_DEFINITIONS: Final = """
DELETE FROM definitions d
WHERE d.created_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT 1 FROM revisions v WHERE v.definition = d.id)
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.definition = d.id)
"""
