"""What model calls cost: sums over the ledger, exact to the last digit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from flowyard.runs.costs import Costs, Grouping, Sums
from flowyard.storage.database import Database
from flowyard.storage.filters import where


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls are summed up: those that ended from `since` on and before `until`, of this workflow and this run.

    `workflows`: only those of these; None: of all.
    """

    since: datetime | None = None
    until: datetime | None = None
    workflow: str | None = None
    run_id: UUID | None = None
    workflows: Collection[str] | None = None


class Ledger:
    """Answers what model calls cost. Reads only: executors write each call together with its step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def costs(self, by: Grouping, wanted: CallFilter, *, most: int) -> Costs:
        """The sums of up to `most` groups, the number of all groups, and the total of all calls.

        It is one statement, so that groups and total agree although calls are written meanwhile.
        """
        name = _NAMES[by]
        clause, args = where(
            ("m.at >= {}", wanted.since),
            ("m.at < {}", wanted.until),
            ("r.workflow = {}", wanted.workflow),
            ("m.run_id = {}", wanted.run_id),
            ("r.workflow = ANY ({})", list(wanted.workflows) if wanted.workflows is not None else None),
        )
        runs = "JOIN runs r ON r.id = m.run_id" if "r." in name + clause else ""
        order = "name DESC" if by == "day" else "known_cost_usd DESC, calls DESC, name"
        statement = _COSTS.format(name=name, runs=runs, where=clause, order=order, most=f"${len(args) + 1}")
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

# The total comes first, then the groups. Calls are sorted once per group, for the percentiles.
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


def _sums(row: asyncpg.Record) -> Sums:
    return Sums(**{name: row[name] for name in Sums.__dataclass_fields__})
