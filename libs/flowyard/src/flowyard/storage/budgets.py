"""What the runs of a workflow have spent on one day, all executors together. A day is one of UTC."""

from __future__ import annotations

from datetime import date
from typing import Final

from flowyard.runs.budget import Amount, Budget
from flowyard.storage.database import Database


class DailySpending:
    """One row per workflow and day: what is settled, and what is reserved for calls in flight.

    A reservation whose executor dies stays counted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, workflow: str, amount: Amount, limits: Budget) -> date | None:
        """The day on which it is reserved now, or None where it would pass a limit of today."""
        reserved: date | None = await self._database.value(
            _RESERVE,
            workflow,
            *(amount.usd, amount.tokens, amount.model_calls),
            *(limits.usd, limits.tokens, limits.model_calls),
        )
        return reserved

    async def settle(self, workflow: str, day: date, reserved: Amount, came_to: Amount) -> None:
        """The end of a call. To be sent once: a second time would take more off than was reserved."""
        more = came_to - reserved
        await self._database.execute(_SETTLE, workflow, day, more.usd, more.tokens, more.model_calls)

    async def reached(self) -> None:
        """Raises Unavailable where a settlement would be lost now."""
        await self._database.value("SELECT 1")

    async def today(self, workflow: str) -> Amount:
        """What is settled and reserved of this day."""
        row = await self._database.row(_TODAY, workflow)
        return Amount(*row) if row is not None else Amount()


# Two that come at once are put in order by the lock of the row, and the second sees what the first has taken.
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
