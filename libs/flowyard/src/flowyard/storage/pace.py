"""Limits on the model calls of all executors: at the same time, and per minute, by the clock of Postgres."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from flowyard.storage.database import Database

MOST_HELD_S: Final = 60.0
"""Most seconds for which one 429 delays all calls, whatever the provider demands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of all calls with the same `name`. None: not limited."""

    name: str
    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """How many calls wait for a limit, and for how many seconds the first of them has waited.

    `rate_limited`: a 429 has slowed them down.
    """

    limit: str
    calls: int
    longest_s: float
    rate_limited: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call must wait for this limit, at least so long. `rate_limited`: a 429 has slowed it down."""

    limit: str
    wait_s: float
    rate_limited: bool


class ModelPace:
    """Admits calls. An admitted call has a lease, which ends `lease_s` seconds after it was taken or renewed last."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_s)

    async def admit(self, call: UUID, limits: Sequence[Limit], *, tokens: int) -> Refusal | None:
        """None: the call is admitted, with at most so many tokens, and must be settled. Safe to repeat."""
        each = zip(*((x.name, x.concurrency, x.requests_per_minute, x.tokens_per_minute) for x in limits), strict=True)
        row = await self._database.row(_ADMIT, call, *map(list, each), float(tokens), self._lease)
        return Refusal(*row) if row is not None else None

    async def renew(self, calls: Collection[UUID]) -> None:
        until = "UPDATE model_leases SET until = clock_timestamp() + $2 WHERE call = ANY ($1)"
        await self._database.execute(until, list(calls), self._lease)

    async def settle(self, call: UUID, *, unused: float) -> None:
        """Ends an admitted call. `unused`: the share of its tokens that it hasn't used, 0 to 1. Safe to repeat."""
        await self._database.execute(_SETTLE, call, unused)

    async def slow_down(self, limit: str, *, wait_s: float | None) -> None:
        """After a 429: no call for so long, and then half the pace, which doubles again with each minute."""
        await self._database.execute(_SLOW_DOWN, limit, wait_s, MOST_HELD_S)

    async def show_waits(self, executor: str, waits: Sequence[Waits]) -> None:
        """Stores which calls of an executor wait, instead of its earlier entries. They expire unless stored again."""
        columns = zip(*((each.limit, each.calls, each.longest_s, each.rate_limited) for each in waits), strict=True)
        await self._database.execute(_SHOW_WAITS, executor, *(map(list, columns) if waits else ([], [], [], [])))


_ADMIT: Final = "SELECT * FROM admit_model_call($1, $2, $3, $4, $5, $6, $7)"

_SETTLE: Final = """
WITH ended AS (DELETE FROM model_leases WHERE call = $1 RETURNING name, tokens_s)
UPDATE model_pace p SET tokens_at = p.tokens_at - make_interval(secs => e.tokens_s * $2::float8)
FROM ended e WHERE p.name = e.name AND e.tokens_s * $2::float8 <> 0
"""

# Calls that were made before the first 429 get their own: they don't lower the pace again.
_SLOW_DOWN: Final = """
UPDATE model_pace SET slowed_at = clock_timestamp(),
    slowdown = CASE WHEN held_until > clock_timestamp() THEN slowdown ELSE least(16, slowdown * 2) END,
    held_until = greatest(held_until, clock_timestamp() + make_interval(secs => least($3, coalesce($2, slowdown))))
WHERE name = $1
"""

_SHOW_WAITS: Final = """
WITH over AS (
    DELETE FROM model_waits
    WHERE (executor = $1 AND name <> ALL ($2::text[])) OR seen_at < now() - interval '1 minute'
)
INSERT INTO model_waits (name, executor, waiting, longest_s, rate_limited, seen_at)
SELECT name, $1, calls, longest_s, rate_limited, now()
FROM unnest($2::text[], $3::int[], $4::float8[], $5::bool[]) AS w(name, calls, longest_s, rate_limited)
ON CONFLICT (name, executor) DO UPDATE SET waiting = excluded.waiting, longest_s = excluded.longest_s,
    rate_limited = excluded.rate_limited, seen_at = now()
"""
