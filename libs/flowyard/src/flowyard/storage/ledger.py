"""What model calls came to: sums over the ledger, exact to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.runs.costs import Costs, Grouping, Sums
from flowyard.storage.database import Database


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls are summed up: by when they ended, from `since` to before `until`, and by whose they were."""

    since: datetime | None = None
    until: datetime | None = None
    workflow: str | None = None
    run_id: UUID | None = None


class Ledger:
    """Reads only: its lines are written with the steps that they belong to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def costs(self, by: Grouping, wanted: CallFilter, *, most: int) -> Costs:
        """One statement, so that the total is that of the groups whatever is being written meanwhile."""
        name = _NAMES[by]
        conditions, args = _conditions(wanted)
        runs = "JOIN runs r ON r.id = m.run_id" if "r." in name or wanted.workflow is not None else ""
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "name DESC" if by == "day" else "known_cost_usd DESC, calls DESC, name"
        statement = _COSTS.format(name=name, runs=runs, where=where, order=order, most=f"${len(args) + 1}")
        rows = await self._database.rows(statement, *args, most)
        total, groups = rows[0], rows[1:]
        return Costs([(row["name"], _sums(row)) for row in groups], total["group_count"], _sums(total))


_NAMES: Final[Mapping[Grouping, str]] = {
    "provider": "m.provider",
    "model": "m.provider || '/' || m.model",
    "workflow": "r.workflow",
    "node": "r.workflow || '.' || m.node",
    "day": "to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "run": "m.run_id::text",
}

# Each of these groups is sorted once, for its percentiles. The total comes first.
_COSTS: Final = """
WITH calls AS (
    SELECT {name} AS name, m.* FROM model_calls m {runs} {where}
),
sums AS (
    SELECT grouping(name) AS is_total, name, count(*) AS calls, count(error) AS errors,
        coalesce(sum(tokens_in), 0) AS known_tokens_in,
        coalesce(sum(tokens_out), 0) AS known_tokens_out,
        coalesce(sum(tokens_cached), 0) AS known_tokens_cached,
        coalesce(sum(cost_usd), 0) AS known_cost_usd,
        count(*) - count(tokens_in) AS unknown_tokens_in,
        count(*) - count(tokens_out) AS unknown_tokens_out,
        count(*) - count(tokens_cached) AS unknown_tokens_cached,
        count(*) FILTER (WHERE tokens_in IS NULL OR tokens_out IS NULL) AS unknown_tokens,
        count(*) - count(cost_usd) AS unknown_cost,
        avg(duration_s) FILTER (WHERE error IS NULL) AS duration_mean_s,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_s) FILTER (WHERE error IS NULL) AS duration_p95_s,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_s) FILTER (WHERE error IS NULL) AS first_token_p50_s
    FROM calls GROUP BY GROUPING SETS ((name), ())
)
SELECT *, count(*) OVER () - 1 AS group_count FROM sums ORDER BY is_total DESC, {order} LIMIT {most} + 1
"""


def _conditions(wanted: CallFilter) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, Any]] = [
        ("m.at >= {}", wanted.since),
        ("m.at < {}", wanted.until),
        ("r.workflow = {}", wanted.workflow),
        ("m.run_id = {}", wanted.run_id),
    ]
    used = [(condition, value) for condition, value in found if value is not None]
    conditions = [condition.format(f"${place}") for place, (condition, _) in enumerate(used, 1)]
    return conditions, [value for _, value in used]


def _sums(row: asyncpg.Record) -> Sums:
    return Sums(**{name: row[name] for name in Sums.__dataclass_fields__})
