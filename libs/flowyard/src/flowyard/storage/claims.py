"""Claims: which executor may work on which run. All times are those of the database's clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.large_json import decoded
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.run import ENGINES
from flowyard.storage.database import Database
from flowyard.storage.forks import fork_of


@dataclass(frozen=True, slots=True)
class Renewed:
    """`held`: the runs whose claims were renewed; `cancelled`: those of them that are to be cancelled. `at`: when."""

    held: frozenset[UUID]
    cancelled: frozenset[UUID]
    at: datetime


class Claims:
    """Takes and renews claims. `lease_s`: seconds for which a claim is valid without a renewal."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s

    async def take(self, executor: str, most: int, *, with_steps: bool = True, alone: bool = True) -> list[Claim]:
        """Claims up to `most` queued runs: the highest priority first, then fair between workflows, then the oldest.

        `with_steps`: False: only runs without recorded steps. `alone`: the executor has no other run. Only then it may
        get a run that was being executed when two executors were lost, and gets no other run with it.
        """
        requested_at = time.monotonic()
        rows = await self._database.rows(_TAKE, executor, most, self._lease_s, ENGINES, with_steps, alone)
        return [await _claim(row, requested_at) for row in rows]

    async def renew(self, claims: Mapping[UUID, int], *, seen: str | None = None) -> Renewed:
        """Renews the leases. `claims`: the epoch per run. A claim that isn't in `held` was lost.

        `seen`: facts about the executor, for the error of its runs if it is lost.
        """
        rows = await self._database.rows(_RENEW, list(claims), list(claims.values()), self._lease_s, seen)
        held = frozenset(row["run_id"] for row in rows if row["run_id"] is not None)
        cancelled = frozenset(row["run_id"] for row in rows if row["cancelled"])
        return Renewed(held, cancelled, rows[0]["at"])

    async def claimed_by(self, executor: str) -> list[UUID]:
        """The runs that an executor of this name has claimed. Just after its start, those of its previous process."""
        rows = await self._database.rows("SELECT run_id FROM claims WHERE executor = $1", executor)
        return [row["run_id"] for row in rows]


_SPENT: Final = ("spent_usd", "spent_tokens", "spent_calls")
_AS_TEXT: Final = ("inputs", "fork")
"""Columns of JSON, read as text: they are decoded without blocking the event loop."""
_FACTS: Final = tuple(field.name for field in fields(Claim) if field.name not in (*_AS_TEXT, "requested_at", "spent"))
_TAKE: Final = f"""
SELECT {", ".join((*_FACTS, *(f"{name}::text" for name in _AS_TEXT), *_SPENT))}
FROM claim_runs($1, $2, make_interval(secs => $3), $4, $5, $6)
"""  # noqa: S608  # names

_RENEW = """
WITH
-- The claims to renew.
claimed AS (SELECT * FROM unnest($1::uuid[], $2::int[]) AS c (run_id, epoch)),
-- Those that are still held.
held AS (
    SELECT c.run_id FROM claims c JOIN claimed USING (run_id) WHERE c.epoch = claimed.epoch AND c.executor IS NOT NULL
),
-- Those that no commit has locked. A commit renews the lease itself, and might wait for us as we would wait for it.
locked AS (
    SELECT c.run_id FROM claims c JOIN claimed USING (run_id) WHERE c.epoch = claimed.epoch AND c.executor IS NOT NULL
    FOR UPDATE OF c SKIP LOCKED
),
renewed AS (
    UPDATE claims c SET lease_until = now() + make_interval(secs => $3), seen = $4
    FROM locked WHERE c.run_id = locked.run_id
)
-- One row per held claim; if there is none, one row with the time alone.
SELECT now() AS at, held.run_id, r.cancel_requested_at IS NOT NULL AND r.id IS NOT NULL AS cancelled
FROM (SELECT 1) clock LEFT JOIN held ON true LEFT JOIN runs r ON r.id = held.run_id
"""


async def _claim(row: asyncpg.Record, requested_at: float) -> Claim:
    values: dict[str, Any] = dict(row)
    values["fork"] = fork_of(await decoded(values["fork"])) if values["fork"] is not None else None
    usd, tokens, calls = (values.pop(name) for name in _SPENT)
    return Claim(**values, requested_at=requested_at, spent=Amount(usd, tokens, calls) if usd is not None else None)
