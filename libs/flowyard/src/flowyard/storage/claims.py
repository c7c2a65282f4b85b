"""Who may work on which run: take, renew, give back. The database's clock alone decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from flowyard.runs.claim import Claim
from flowyard.storage.database import Database
from flowyard.storage.forks import fork_of


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a renewal says. `cancelled`: of the runs that are still held, those that somebody wants cancelled."""

    held: frozenset[UUID]
    cancelled: frozenset[UUID]
    at: datetime


class Claims:
    """The claims of all executors."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s

    async def take(self, executor: str, most: int) -> list[Claim]:
        """Up to `most` queued runs, now running: highest priority first, then oldest, fair between workflows."""
        rows = await self._database.rows(
            "SELECT * FROM claim_runs($1, $2, make_interval(secs => $3))", executor, most, self._lease_s
        )
        return [_claim(row) for row in rows]

    async def renew(self, claims: Mapping[UUID, int]) -> Renewed:
        """`claims`: run → epoch. A run that isn't in the answer's `held` belongs to somebody else by now."""
        rows = await self._database.rows(_RENEW, list(claims), list(claims.values()), self._lease_s)
        held = frozenset(row["run_id"] for row in rows if row["run_id"] is not None)
        cancelled = frozenset(row["run_id"] for row in rows if row["cancelled"])
        return Renewed(held, cancelled, rows[0]["at"])

    async def give_back(self, run_id: UUID, epoch: int, *, entries: str, last_seq: int) -> bool:
        """The run goes on elsewhere, at once. False if it wasn't ours any more. It doesn't count as an attempt."""
        row = await self._database.row(_GIVE_BACK, run_id, epoch, entries, last_seq, None)
        return row is not None

    async def put_to_sleep(self, run_id: UUID, epoch: int, *, entries: str, last_seq: int, seconds: float) -> bool:
        """The run waits, without a slot, until its time has come. False if it wasn't ours any more."""
        row = await self._database.row(_GIVE_BACK, run_id, epoch, entries, last_seq, seconds)
        return row is not None

    async def held_by(self, executor: str) -> list[UUID]:
        """The runs that an executor of this name has claimed; after its restart: those of its former life."""
        rows = await self._database.rows("SELECT run_id FROM claims WHERE executor = $1", executor)
        return [row["run_id"] for row in rows]


_RENEW = """
WITH given AS (SELECT * FROM unnest($1::uuid[], $2::int[]) AS g (run_id, epoch)),
held AS (
    SELECT c.run_id FROM claims c JOIN given g USING (run_id) WHERE c.epoch = g.epoch AND c.executor IS NOT NULL
),
-- What is locked is being committed, which renews it too: to wait for it might be to wait for each other.
free AS (
    SELECT c.run_id FROM claims c JOIN given g USING (run_id) WHERE c.epoch = g.epoch AND c.executor IS NOT NULL
    FOR UPDATE OF c SKIP LOCKED
),
renewed AS (
    UPDATE claims c SET lease_until = now() + make_interval(secs => $3) FROM free WHERE c.run_id = free.run_id
)
SELECT now() AS at, h.run_id, r.cancel_requested_at IS NOT NULL AND r.id IS NOT NULL AS cancelled
FROM (SELECT 1) one LEFT JOIN held h ON true LEFT JOIN runs r ON r.id = h.run_id
"""

_GIVE_BACK = """
WITH held AS (
    UPDATE claims SET executor = NULL, lease_until = NULL, last_seq = $4, epoch = epoch + 1
    WHERE run_id = $1 AND epoch = $2 AND executor IS NOT NULL
    RETURNING run_id
),
told AS (
    INSERT INTO events (run_id, seq, entries) SELECT run_id, $4, $3::text::json FROM held
)
UPDATE runs r SET status = CASE WHEN $5::float8 IS NULL THEN 'queued' ELSE 'waiting' END, epoch = r.epoch + 1,
    attempt = r.attempt - 1, queued_at = now(), last_seq = $4,
    wake_at = now() + make_interval(secs => $5::float8)
FROM held WHERE r.id = held.run_id
RETURNING r.id
"""


def _claim(row: asyncpg.Record) -> Claim:
    values: dict[str, Any] = dict(row)
    values["fork"] = fork_of(values["fork"])
    return Claim(**values)
