"""What the runs of a workflow have spent on one day, with all executors. Days are those of UTC."""

from __future__ import annotations

from datetime import date
from typing import Final

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.database import Database


class DailySpending:
    """Answers how much a workflow has spent on a day: by calls that have ended, and reserved for those in flight.

    The reservation of an executor that dies stays counted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, workflow: str, amount: Amount, limits: Budget) -> date | None:
        """Reserves an amount for a call. The day for which it counts, or None if it would exceed a limit of today."""
        reserved: date | None = await self._database.value(
            _RESERVE,
            workflow,
            *(amount.usd, amount.tokens, amount.model_calls),
            *(limits.usd, limits.tokens, limits.model_calls),
        )
        return reserved

    async def settle(self, workflow: str, day: date, reserved: Amount, cost: Amount) -> None:
        """Replaces a reservation by what the call cost. Must not be repeated: it would be subtracted twice."""
        more = cost - reserved
        await self._database.execute(_SETTLE, workflow, day, more.usd, more.tokens, more.model_calls)

    async def reached(self) -> None:
        """Raises Unavailable if Postgres can't be reached, so that `settle` would fail now."""
        await self._database.value("SELECT 1")

    async def today(self, workflow: str) -> Amount:
        """What is spent and reserved today."""
        row = await self._database.row(_TODAY, workflow)
        return Amount(*row) if row is not None else Amount()


# The lock of the row puts two concurrent reservations in order, and the second sees what the first has reserved.
_RESERVE: Final = """
INSERT INTO daily_spending AS d (workflow, day, usd, tokens, model_calls)
SELECT $1, (now() AT TIME ZONE 'UTC')::date, $2::numeric, $3::bigint, $4::int
WHERE ($5::numeric IS NULL OR $2 <= $5) AND ($6::bigint IS NULL OR $3 <= $6) AND ($7::int IS NULL OR $4 <= $7)
ON CONFLICT (workflow, day) DO UPDATE SET usd = d.usd + excluded.usd, tokens = d.tokens + excluded.tokens,
    model_calls = d.model_calls + excluded.model_calls
WHERE ($5::numeric IS NULL OR d.usd + excluded.usd <= $5)
    AND ($6::bigint IS NULL OR d.tokens + excluded.tokens <= $6)
    AND ($7::int IS NULL OR d.model_calls + excluded.model_calls <= $7)
RETURNING day
"""

_SETTLE: Final = """
UPDATE daily_spending SET usd = usd + $3, tokens = tokens + $4, model_calls = model_calls + $5
WHERE workflow = $1 AND day = $2
"""

_TODAY: Final = """
SELECT usd, tokens, model_calls FROM daily_spending WHERE workflow = $1 AND day = (now() AT TIME ZONE 'UTC')::date
"""
