"""What the runs of a workflow have spent on one day, with all executors. Days are those of UTC."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.database import Database


class DailySpending:
    """How much each workflow has spent on a day: the costs of ended calls, and the reservations of calls in flight.

    `executor`: the name under which calls are reserved. The reservations of an executor that dies count as spent.
    """

    def __init__(self, database: Database, *, executor: str) -> None:
        self._database = database
        self._executor = executor

    async def begin(self) -> None:
        """Ends the reservations of an earlier process with this name. Their amounts stay counted as spent."""
        await self._database.execute("DELETE FROM daily_reservations WHERE executor = $1", self._executor)

    async def reserve(self, reservation: UUID, workflow: str, amount: Amount, limits: Budget) -> bool:
        """Reserves an amount for a call. False if it would exceed a limit of today. Safe to repeat."""
        return bool(
            await self._database.value(
                _RESERVE,
                *(reservation, workflow, self._executor),
                *(amount.usd, amount.tokens, amount.model_calls),
                *(limits.usd, limits.tokens, limits.model_calls),
            )
        )

    async def settle(self, reservation: UUID, cost: Amount) -> None:
        """Replaces a reservation by the actual cost of the call. Safe to repeat: the second time changes nothing."""
        await self._database.execute(_SETTLE, reservation, cost.usd, cost.tokens, cost.model_calls)

    async def today(self, workflow: str) -> Amount:
        """The amount that is spent and reserved today."""
        row = await self._database.row(_TODAY, workflow)
        return Amount(*row) if row is not None else Amount()

    async def in_flight(self, workflow: str) -> Amount:
        """The part of `today` that is reserved for calls of live executors. It becomes less when they are settled."""
        row = await self._database.row(_IN_FLIGHT, workflow)
        return Amount(*row) if row is not None else Amount()


# The lock of the row puts two concurrent reservations in order, and the second sees what the first has reserved.
_RESERVE: Final = """
WITH counted AS (
    INSERT INTO daily_spending AS d (workflow, day, usd, tokens, model_calls)
    SELECT $2, (now() AT TIME ZONE 'UTC')::date, $4::numeric, $5::bigint, $6::int
    WHERE ($7::numeric IS NULL OR $4 <= $7) AND ($8::bigint IS NULL OR $5 <= $8) AND ($9::int IS NULL OR $6 <= $9)
        AND NOT EXISTS (SELECT FROM daily_reservations WHERE id = $1)
    ON CONFLICT (workflow, day) DO UPDATE SET usd = d.usd + excluded.usd, tokens = d.tokens + excluded.tokens,
        model_calls = d.model_calls + excluded.model_calls
    WHERE ($7::numeric IS NULL OR d.usd + excluded.usd <= $7)
        AND ($8::bigint IS NULL OR d.tokens + excluded.tokens <= $8)
        AND ($9::int IS NULL OR d.model_calls + excluded.model_calls <= $9)
    RETURNING day
),
reserved AS (
    INSERT INTO daily_reservations (id, workflow, day, executor, usd, tokens, model_calls)
    SELECT $1, $2, day, $3, $4, $5, $6 FROM counted
    RETURNING id
)
SELECT EXISTS (SELECT FROM reserved) OR EXISTS (SELECT FROM daily_reservations WHERE id = $1)
"""

_SETTLE: Final = """
WITH reserved AS (DELETE FROM daily_reservations WHERE id = $1 RETURNING *)
UPDATE daily_spending AS d SET usd = d.usd - r.usd + $2, tokens = d.tokens - r.tokens + $3,
    model_calls = d.model_calls - r.model_calls + $4
FROM reserved r WHERE (d.workflow, d.day) = (r.workflow, r.day)
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
