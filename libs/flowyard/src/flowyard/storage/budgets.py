"""What the runs of a workflow have spent on one day, with all executors. Days are those of UTC."""

from __future__ import annotations

from datetime import date
from typing import Final

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.database import Database


class DailySpending:
    """Answers how much a workflow has spent on a day: by calls that have ended, and reserved for those in flight.

    `executor`: whose calls are reserved. What an executor that dies has reserved counts as spent.
    """

    def __init__(self, database: Database, *, executor: str) -> None:
        self._database = database
        self._executor = executor

    async def begin(self) -> None:
        """What an earlier process of this name has reserved isn't in flight any more. It counts as spent."""
        await self._database.execute("DELETE FROM daily_reservations WHERE executor = $1", self._executor)

    async def reserve(self, workflow: str, amount: Amount, limits: Budget) -> date | None:
        """Reserves an amount for a call. The day for which it counts, or None if it would exceed a limit of today."""
        reserved: date | None = await self._database.value(
            _RESERVE,
            workflow,
            *(amount.usd, amount.tokens, amount.model_calls),
            *(limits.usd, limits.tokens, limits.model_calls),
            self._executor,
        )
        return reserved

    async def settle(self, workflow: str, day: date, reserved: Amount, cost: Amount) -> None:
        """Replaces a reservation by what the call cost. Must not be repeated: it would be subtracted twice."""
        more = cost - reserved
        await self._database.execute(
            _SETTLE,
            *(workflow, day, self._executor),
            *(more.usd, more.tokens, more.model_calls),
            *(reserved.usd, reserved.tokens, reserved.model_calls),
        )

    async def reached(self) -> None:
        """Raises Unavailable if Postgres can't be reached, so that `settle` would fail now."""
        await self._database.value("SELECT 1")

    async def today(self, workflow: str) -> Amount:
        """What is spent and reserved today."""
        row = await self._database.row(_TODAY, workflow)
        return Amount(*row) if row is not None else Amount()

    async def in_flight(self, workflow: str) -> Amount:
        """What is reserved today for calls of executors that are alive: a part of `today` that may become less."""
        row = await self._database.row(_IN_FLIGHT, workflow)
        return Amount(*row) if row is not None else Amount()


# The lock of the row puts two concurrent reservations in order, and the second sees what the first has reserved.
_RESERVE: Final = """
WITH counted AS (
    INSERT INTO daily_spending AS d (workflow, day, usd, tokens, model_calls)
    SELECT $1, (now() AT TIME ZONE 'UTC')::date, $2::numeric, $3::bigint, $4::int
    WHERE ($5::numeric IS NULL OR $2 <= $5) AND ($6::bigint IS NULL OR $3 <= $6) AND ($7::int IS NULL OR $4 <= $7)
    ON CONFLICT (workflow, day) DO UPDATE SET usd = d.usd + excluded.usd, tokens = d.tokens + excluded.tokens,
        model_calls = d.model_calls + excluded.model_calls
    WHERE ($5::numeric IS NULL OR d.usd + excluded.usd <= $5)
        AND ($6::bigint IS NULL OR d.tokens + excluded.tokens <= $6)
        AND ($7::int IS NULL OR d.model_calls + excluded.model_calls <= $7)
    RETURNING day
)
INSERT INTO daily_reservations AS r (workflow, day, executor, usd, tokens, model_calls)
SELECT $1, day, $8, $2, $3, $4 FROM counted
ON CONFLICT (workflow, day, executor) DO UPDATE SET usd = r.usd + excluded.usd, tokens = r.tokens + excluded.tokens,
    model_calls = r.model_calls + excluded.model_calls
RETURNING day
"""

_SETTLE: Final = """
WITH counted AS (
    UPDATE daily_spending SET usd = usd + $4, tokens = tokens + $5, model_calls = model_calls + $6
    WHERE workflow = $1 AND day = $2
)
UPDATE daily_reservations SET usd = usd - $7, tokens = tokens - $8, model_calls = model_calls - $9
WHERE workflow = $1 AND day = $2 AND executor = $3
"""

_TODAY: Final = """
SELECT usd, tokens, model_calls FROM daily_spending WHERE workflow = $1 AND day = (now() AT TIME ZONE 'UTC')::date
"""

_IN_FLIGHT: Final = """
SELECT coalesce(sum(r.usd), 0), coalesce(sum(r.tokens), 0)::bigint, coalesce(sum(r.model_calls), 0)::int
FROM daily_reservations r
WHERE r.workflow = $1 AND r.day = (now() AT TIME ZONE 'UTC')::date
    AND EXISTS (SELECT FROM claims c WHERE c.executor = r.executor AND c.lease_until > now())
"""
