"""The rates of API keys: one for all gateways. Only keys with a rate cost a statement."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from flowyard.access import Caller
from flowyard.errors.requests import TooManyRequests
from flowyard.storage.database import Database


class KeyPace:
    """A key that was quiet may make the requests of a minute at once; then it gets on at its rate."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refused_until: dict[str, float] = {}

    async def take(self, caller: Caller) -> None:
        """Counts a request of the key. Raises TooManyRequests, Unavailable."""
        if caller.rate is None:
            return
        # While it is refused anyway, a flood of requests costs no statement.
        wait_s = self._refused_until.pop(caller.key_id, 0.0) - time.monotonic()
        if wait_s <= 0:
            wait_s = await self._database.value(_TAKE, caller.key_id, timedelta(minutes=1) / caller.rate)
        if wait_s > 0:
            self._refused_until[caller.key_id] = time.monotonic() + wait_s
            raise TooManyRequests(key_name=caller.name, rate=caller.rate, retry_after=wait_s)


# Half a request more than a minute: the microseconds of many requests don't add up to exactly that. Both parts of the
# statement see the row as it was before.
_TAKE: Final = """
WITH taken AS (
    INSERT INTO key_pace AS p (key_id, paid_at) VALUES ($1, clock_timestamp() + $2::interval)
    ON CONFLICT (key_id) DO UPDATE SET paid_at = greatest(p.paid_at, clock_timestamp()) + $2
    WHERE p.paid_at + $2 / 2 <= clock_timestamp() + interval '1 minute'
    RETURNING true
)
SELECT CASE WHEN EXISTS (TABLE taken) THEN 0 ELSE coalesce((
    SELECT greatest(0.001, extract(epoch FROM paid_at + $2 / 2 - clock_timestamp()) - 60) FROM key_pace
    WHERE key_id = $1
), 0.001) END::float8
"""
