"""What has happened in a run: its events, its steps, its model calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from flowyard.errors.requests import UnknownStep
from flowyard.runs.budget import Amount
from flowyard.runs.events import StepId
from flowyard.runs.run import Ended, Entry, Step, StepCalls
from flowyard.storage.database import Database, dumps
from flowyard.storage.packing import unpacked
from flowyard.storage.rows import CallRow, call_of, ended_of, place_of, step_calls_of, step_of

PAGE_BYTES: Final = 1_000_000
"""Of outputs that a replay reads at a time."""
_ROW_BYTES: Final = 500
"""What a row counts beside its outputs."""


class History:
    """Answers what has happened in a run, and how far it is. Reads only: executors write it under a claim."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, run_id: UUID, *, after: int = 0, most: int = 1000) -> list[Entry]:
        """Up to `most` of the run's events, in order: those with numbers greater than `after`."""
        rows = await self._database.rows(_PAGE, run_id, after, most)
        entries = [entry for row in rows for entry in unpacked(row["seq"], row["entries"])]
        return [entry for entry in entries if entry.seq > after][:most]

    async def last_seqs(self, run_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """By run: the number of its newest event. Runs that don't exist are left out."""
        rows = await self._database.rows(_LAST_SEQS, list(run_ids))
        return {row["id"]: row["seq"] for row in rows}

    async def pages(self, run_id: UUID, *, rows: int) -> AsyncIterator[list[Entry]]:
        """All events of the run, in order: those of so many commits at a time. A commit's may be a megabyte."""
        after = 0
        while page := await self._database.rows(_PAGE, run_id, after, rows):
            yield [entry for row in page for entry in unpacked(row["seq"], row["entries"])]
            after = page[-1]["seq"]
            if len(page) < rows:
                return

    async def open_steps(self, run_id: UUID) -> list[Step]:
        """The steps and maps of the run that have begun and not ended."""
        rows = await self._database.rows(_OPEN_STEPS, run_id)
        return [step_of(row) for row in rows]

    async def snapshot(self, run_id: UUID, engine: int) -> tuple[int, Any] | None:
        """The number of the last event before it was made, and the snapshot. None: the run has none by these rules."""
        query = "SELECT through_seq, state FROM snapshots WHERE run_id = $1 AND engine = $2"
        row = await self._database.row(query, run_id, engine)
        return (row["through_seq"], row["state"]) if row is not None else None

    async def ended_pages(self, run_id: UUID, after: int) -> list[tuple[int, int]]:
        """Cuts what has ended after this number into pages: their ranges, as `ended` takes them."""
        ends = [row["seq"] for row in await self._database.rows(_PAGES, run_id, after, _ROW_BYTES, PAGE_BYTES)]
        return list(pairwise([after, *ends]))

    async def ended(self, run_id: UUID, after: int, to: int) -> list[Ended]:
        """What has ended of the run with a number greater than `after`, up to `to`, in this order.

        A map comes after its items.
        """
        return ended_of(await self._database.rows(_ENDED_STEPS, run_id, after, to))

    async def record(self, run_id: UUID) -> list[Step]:
        """All that is recorded of the run: steps, maps, decisions, in the order in which they ended.

        A map comes after its items.
        """
        rows = await self._database.rows(
            "SELECT * FROM steps WHERE run_id = $1 ORDER BY seq, node, visit, item < 0, item", run_id
        )
        return [step_of(row) for row in rows]

    async def steps(self, run_id: UUID) -> list[Step]:
        """As `record`, without decisions."""
        return [step for step in await self.record(run_id) if step.kind != "decision"]

    async def calls(self, run_id: UUID) -> list[CallRow]:
        """Those that have ended, in this order."""
        rows = await self._database.rows("SELECT * FROM model_calls WHERE run_id = $1 ORDER BY seq", run_id)
        return [call_of(row) for row in rows]

    async def calls_of(self, run_id: UUID, steps: Collection[StepId]) -> dict[StepId, StepCalls]:
        """The calls of these steps so far."""
        rows = await self._database.rows(_CALLS_OF, run_id, *zip(*(place_of(step) for step in steps), strict=True))
        return dict(map(step_calls_of, rows))

    async def spent(self, run_id: UUID) -> Amount:
        """What all calls of the run came to, at most: what isn't known of a call counts as it was reserved."""
        return Amount(*await self._database.row(_SPENT, run_id) or ())

    async def started_at_seq(self, run_id: UUID, node: str, visit: int) -> int:
        """The number of the event with which a step last began. Raises UnknownStep."""
        rows = await self._database.rows(_MAY_HAVE_STARTED, run_id, dumps(node))
        entries = [entry for row in rows for entry in unpacked(row["seq"], row["entries"])]
        started = [entry for entry in entries if entry.type == "step.started"]
        seqs = [entry.seq for entry in started if (entry.data["node"], entry.data["visit"]) == (node, visit)]
        if seqs:
            # The last one: before a retry of the run, the step may have begun and failed.
            return max(seqs)
        # A fork has copies of its origin's steps without their events: instead, the number with which the step ended.
        seq = await self._database.value(_ENDED, run_id, node, visit)
        if seq is None:
            raise UnknownStep(f"{node}#{visit}" if visit > 1 else node)
        return int(seq)


_LAST_SEQS = """
SELECT r.id, coalesce(c.last_seq, r.last_seq) AS seq FROM runs r LEFT JOIN claims c ON c.run_id = r.id
WHERE r.id = ANY($1)
"""
_PAGE = "SELECT seq, entries FROM events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
# As text: Postgres can't look into JSON that holds the character U+0000.
_MAY_HAVE_STARTED = """
SELECT seq, entries FROM events
WHERE run_id = $1 AND strpos(entries::text, '"step.started"') > 0 AND strpos(entries::text, $2) > 0
"""
_CALLS_OF = """
SELECT DISTINCT ON (node, visit, item) p.*, count(*) OVER step AS calls,
    CASE WHEN count(*) OVER step = count(tokens_in) OVER step THEN sum(tokens_in) OVER step END AS sum_in,
    CASE WHEN count(*) OVER step = count(tokens_out) OVER step THEN sum(tokens_out) OVER step END AS sum_out,
    CASE WHEN count(*) OVER step = count(cost_usd) OVER step THEN sum(cost_usd) OVER step END AS sum_usd
FROM step_parts p JOIN unnest($2::text[], $3::int[], $4::int[]) AS s (node, visit, item) USING (node, visit, item)
WHERE p.run_id = $1 WINDOW step AS (PARTITION BY node, visit, item) ORDER BY node, visit, item, part DESC
"""
"""The last call of each step, and the sums of all."""
_SPENT = """
SELECT coalesce(sum(coalesce(cost_usd, reserved_usd)), 0),
    coalesce(sum(coalesce(tokens_in + tokens_out, reserved_tokens)), 0)::bigint, count(*)::int
FROM step_parts WHERE run_id = $1
"""
_HAS_ENDED = "status IN ('succeeded', 'failed')"
_OPEN_STEPS = f"SELECT * FROM steps WHERE run_id = $1 AND NOT {_HAS_ENDED}"  # noqa: S608  # a constant
_PAGES = f"""
SELECT max(seq) AS seq FROM (
    SELECT seq, sum($3 + coalesce(octet_length(outputs::text), 0)) OVER (ORDER BY seq) / $4 AS page
    FROM steps WHERE run_id = $1 AND seq > $2 AND {_HAS_ENDED}
) sizes
GROUP BY page ORDER BY 1
"""  # noqa: S608  # a constant
_ENDED_STEPS = f"""
SELECT node, visit, item, status, handled, next::text, outputs::text, error::text
FROM steps WHERE run_id = $1 AND seq > $2 AND seq <= $3 AND {_HAS_ENDED} ORDER BY seq, node, visit, item < 0, item
"""  # noqa: S608  # a constant
_ENDED = "SELECT min(seq) FROM steps WHERE run_id = $1 AND node = $2 AND visit = $3"
