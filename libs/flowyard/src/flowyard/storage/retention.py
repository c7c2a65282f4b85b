"""Deletes what is old: finished runs with what they have, deliveries, documents without runs, days, sessions, acts."""

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

    async def delete_deliveries(self, *, older_than_s: float, most: int = BATCH) -> int:
        """Up to `most` that came more than `older_than_s` seconds ago, and whose run is gone. Returns how many."""
        return await self._database.execute(_DELETE_DELIVERIES, older_than_s, most)

    async def delete_receivers(self, *, older_than_s: float) -> int:
        """Those of no notification that were last tried more than `older_than_s` seconds ago. Returns how many."""
        return await self._database.execute(_DELETE_RECEIVERS, older_than_s)

    async def delete_definitions(self, *, older_than_s: float) -> int:
        """Documents to which no revision and no run refers. Returns how many."""
        return await self._database.execute(_DELETE_DEFINITIONS, older_than_s)

    async def delete_days(self, *, older_than_s: float) -> int:
        """The daily spending of days that are over. Returns how many rows."""
        return await self._database.execute(_DELETE_DAYS, older_than_s)

    async def delete_acts(self, *, days: int, most: int = BATCH) -> int:
        """Rows of the audit log that are older than `days`, and older than `audit.KEPT_DAYS`. Returns how many."""
        total = 0
        while True:
            deleted: int = await self._database.value("SELECT forget_audit($1, $2)", days, most)
            total += deleted
            if deleted < most:
                return total

    async def delete_chats(self, *, older_than_s: float) -> int:
        """Conversations without a turn that were last used more than `older_than_s` seconds ago. Returns how many."""
        return await self._database.execute(_DELETE_CHATS, older_than_s)

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
t AS (DELETE FROM run_ends USING old WHERE run_id = old.id RETURNING 1),
n AS (DELETE FROM notifications USING old WHERE run_id = old.id RETURNING 1),
c AS (DELETE FROM chat_turns USING old WHERE run_id = old.id RETURNING 1),
r AS (DELETE FROM runs USING old WHERE runs.id = old.id RETURNING 1)
SELECT (SELECT count(*) FROM r) AS runs, (SELECT count(*) FROM e) AS events, (SELECT count(*) FROM s) AS steps,
    (SELECT count(*) FROM m) AS model_calls, (SELECT count(*) FROM x) AS exports,
    (SELECT count(*) FROM t) AS run_ends, (SELECT count(*) FROM n) AS notifications
"""

_DELETE_DELIVERIES: Final = """
DELETE FROM deliveries WHERE id IN (
    SELECT d.id FROM deliveries d
    WHERE d.received_at < now() - make_interval(secs => $1) AND NOT EXISTS (SELECT FROM runs r WHERE r.id = d.run_id)
    ORDER BY d.id LIMIT $2
)
"""

_DELETE_RECEIVERS: Final = """
DELETE FROM receivers r
WHERE r.tried_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM notifications n WHERE n.receiver = r.id)
"""

_DELETE_CHATS: Final = """
DELETE FROM chat_sessions s
WHERE s.used_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM chat_turns t WHERE t.session_id = s.id)
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
