"""What has happened in a run: its events, its steps, its model calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from json import loads
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from flowyard.errors.requests import TooLarge, UnknownStep
from flowyard.large_json import decoded
from flowyard.runs.budget import Amount
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.events import StepId
from flowyard.runs.large_values import LARGE, without_large
from flowyard.runs.run import Ended, Entry, Part, Step, StepCalls
from flowyard.storage.database import Database, dumps
from flowyard.storage.outputs import MOST
from flowyard.storage.packing import unpacked
from flowyard.storage.repeats import WholeEntries, whole_entries
from flowyard.storage.rows import (
    SHORT_CALL_COLUMNS,
    SHORT_STEP_COLUMNS,
    CallRow,
    call_of,
    ended_of,
    listed_step_of,
    part_of,
    place_of,
    step_calls_of,
    step_of,
)

MAX_SEQ: Final = 2**31 - 1
TEXTS_BYTES: Final = 4_000_000
"""Most bytes of calls' texts that are read at a time."""
TEXTS_ROWS: Final = 100
"""Most calls whose texts are read at a time. Only the lengths of so many texts are looked up."""
PAGE_BYTES: Final = 1_000_000
"""Most bytes of outputs that a replay reads at a time."""
_LIGHT_PAGE: Final = 64 * 1024
"""Characters of outputs that are decoded in the event loop."""
EVENTS_BYTES: Final = 256 * 1024
"""Most bytes of stored events that are read at a time, but at least one commit: there may be many readers."""
_LARGE_ROW: Final = 4 * EVENTS_BYTES
"""Bytes of one commit's events above which they are read alone."""
STEPS_BYTES: Final = 4_000_000
"""Most bytes of outputs that are read with a list of steps."""
RECORD_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of outputs of a run whose whole record is read."""
_ROW_BYTES: Final = 500
"""Bytes that a row counts in addition to its outputs."""
_FIRST: Final = -(2**31)
"""Less than the numbers of all steps. A fork has some that are below zero."""


class EntryPage(NamedTuple):
    """Events of a run, in order. `more`: whether others may follow."""

    entries: list[Entry]
    more: bool


class Newest(NamedTuple):
    """How far a run is. `seq`: the number of its newest event."""

    seq: int
    has_ended: bool


class History:
    """Reads a run's events, steps and model calls. Executors write them, under a claim."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._large = asyncio.Semaphore(1)

    async def entries(self, run_id: UUID, *, after: int = 0, most: int = 1000) -> list[Entry]:
        """Up to `most` of the run's events, in order: those with numbers greater than `after`.

        Maybe fewer than there are, but at least one, if there is any: see EVENTS_BYTES.
        """
        return (await self.page(run_id, after=after, most=most)).entries

    async def page(self, run_id: UUID, *, after: int = 0, most: int = 1000) -> EntryPage:
        """As `entries`, and whether there may be more. Raises TooLarge for an event of an earlier version."""
        rows = await self._database.rows(_SOME, run_id, after, most, EVENTS_BYTES, _LARGE_ROW)
        more = any(row["rows"] > len(rows) or row["rows"] == most for row in rows[:1])
        if rows and rows[0]["entries"] is None:
            # Earlier versions stored large outputs in events. One at a time: it may take a hundred megabytes.
            async with self._large:
                rows = [await self._large_row(run_id, rows[0])]
                whole, is_cut = await self._whole(run_id, rows, after)
                entries = await asyncio.to_thread(_without_large, whole)
        else:
            first = _first(rows, most, after)
            whole, is_cut = await self._whole(run_id, first, after)
            entries = _without_large(whole)
            more |= len(first) < len(rows)
        more |= is_cut or len(entries) > most
        return EntryPage(entries[:most], more)

    async def _whole(self, run_id: UUID, rows: Sequence[asyncpg.Record], after: int) -> WholeEntries:
        return await whole_entries(self._database, run_id, rows, after=after, most_bytes=EVENTS_BYTES)

    async def _large_row(self, run_id: UUID, row: asyncpg.Record) -> Mapping[str, Any]:
        if row["bytes"] > MOST:
            raise TooLarge(f"an event of run {run_id}", limit=MOST)
        return {"seq": row["seq"], "entries": await decoded(await self._database.value(_ROW, run_id, row["seq"]))}

    async def newest(self, run_ids: Collection[UUID]) -> Mapping[UUID, Newest]:
        """By run. Runs that don't exist are left out."""
        rows = await self._database.rows(_NEWEST, list(run_ids))
        return {row["id"]: Newest(row["seq"], row["has_ended"]) for row in rows}

    async def stored_bytes(self, run_id: UUID) -> int:
        """About how many bytes the run's events, outputs of steps and texts of calls have."""
        return int(await self._database.value(_STORED_BYTES, run_id))

    async def open_steps(self, run_id: UUID) -> list[tuple[Step, StepCalls]]:
        """The steps and maps of the run that have begun and not ended, with the calls of each so far."""
        rows = await self._database.rows(_OPEN_STEPS, run_id)
        return [(step_of(row), step_calls_of(row)) for row in rows]

    async def parts(self, run_id: UUID, step: StepId) -> list[Part]:
        """What earlier claims have recorded of the step's calls of tools, and of replies that it goes on from."""
        return [part_of(row) for row in await self._database.rows(_PARTS, run_id, *place_of(step))]

    async def snapshot(self, run_id: UUID, engine: int | None) -> tuple[Any, list[tuple[int, int]]]:
        """The run's snapshot, and the pages of what has ended since: their ranges, as `ended` takes them.

        None, and all pages, if it has no snapshot by the rules of this engine, or a very large one. Raises TooLarge
        for a step that an earlier version has recorded with larger outputs than can be read.
        """
        [row] = await self._database.rows(_SNAPSHOT, run_id, engine, _ROW_BYTES, PAGE_BYTES, MOST)
        if (row["largest"] or 0) > MOST:
            raise TooLarge(f"the outputs of a step of run {run_id}", limit=MOST)
        state = await decoded(row["state"]) if row["state"] is not None else None
        return state, list(pairwise([row["through_seq"], *row["pages"]]))

    async def ended(self, run_id: UUID, after: int, to: int) -> list[Ended]:
        """What has ended of the run with a number greater than `after`, up to `to`, in this order.

        A map comes after its items.
        """
        rows = await self._database.rows(_ENDED_STEPS, run_id, after, to)
        if sum(len(row["outputs"] or "") for row in rows) <= _LIGHT_PAGE:
            return ended_of(rows)
        return await asyncio.to_thread(ended_of, rows)

    async def record(self, run_id: UUID) -> list[Step]:
        """All that is recorded of the run: steps, maps, decisions, in the order in which they ended.

        A map comes after its items. Raises TooLarge if its outputs are more than RECORD_BYTES.
        """
        if await self._database.value(_RECORD_BYTES, run_id) > RECORD_BYTES:
            raise TooLarge(f"the outputs of all steps of run {run_id}", limit=RECORD_BYTES)
        rows = await self._database.rows(
            "SELECT * FROM steps WHERE run_id = $1 ORDER BY seq, node, visit, item < 0, item", run_id
        )
        return [step_of(row) for row in rows]

    async def steps(self, run_id: UUID, *, most_bytes: int = STEPS_BYTES) -> list[Step]:
        """As `record`, without decisions, and without outputs that are large, or too many: the last ones are there.

        `outputs_bytes` of a step has the size of those that aren't.
        """
        return [listed_step_of(row) for row in await self._database.rows(_STEPS, run_id, LARGE, most_bytes)]

    async def calls(self, run_id: UUID) -> list[CallRow]:
        """The run's ended calls, in the order of their ends; then the lost calls, which have no events."""
        rows = await self._database.rows(_CALLS, run_id)
        return [call_of(row) for row in rows]

    async def with_texts(self, run_id: UUID) -> frozenset[int]:
        """The numbers of the calls whose texts are kept."""
        rows = await self._database.rows("SELECT seq FROM model_calls WHERE run_id = $1 AND texts IS NOT NULL", run_id)
        return frozenset(row["seq"] for row in rows)

    async def texts(self, run_id: UUID, *, after: int = 0, to: int = MAX_SEQ) -> dict[int, CallTexts]:
        """The texts of calls with numbers above `after`, up to `to`, by number: up to TEXTS_BYTES and TEXTS_ROWS, but
        at least one, if there is any.
        """
        rows = await self._database.rows(_TEXTS, run_id, after, to, TEXTS_BYTES, TEXTS_ROWS)
        return {row["seq"]: CallTexts.from_data(loads(row["texts"])) for row in rows}

    async def spent(self, run_id: UUID) -> Amount:
        """The most that all calls of the run have used: unknown usage counts as the reserved amount."""
        return Amount(*await self._database.row(_SPENT, run_id) or ())

    async def started_at_seq(self, run_id: UUID, node: str, visit: int) -> int:
        """The number of the event with which a step last began. Raises UnknownStep."""
        if (seq := await self._database.value(_STARTED, run_id, node, visit)) is not None:
            return int(seq)
        # Versions before recorded it in events alone.
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


_NEWEST = """
SELECT r.id, coalesce(c.last_seq, r.last_seq) AS seq, r.finished_at IS NOT NULL AS has_ended
FROM runs r LEFT JOIN claims c ON c.run_id = r.id
WHERE r.id = ANY($1)
"""


def _without_large(entries: Iterable[Entry]) -> list[Entry]:
    return [without_large(entry)[0] for entry in entries]


def _first(rows: Sequence[asyncpg.Record], most: int, after: int) -> Sequence[asyncpg.Record]:
    """Those that have the first `most` entries after `after`."""
    entries = accumulate(min(len(row["entries"]), row["seq"] - after) for row in rows)
    enough = next((number for number, total in enumerate(entries, 1) if total >= most), len(rows))
    return rows[:enough]


_SOME = """
SELECT seq, CASE WHEN bytes <= $5 THEN entries END AS entries, bytes, rows FROM (
    SELECT *, count(*) OVER () AS rows, sum(bytes) OVER (ORDER BY seq) AS total
    FROM (
        SELECT seq, entries, octet_length(entries::text) AS bytes FROM events
        WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
    ) next
) sizes
WHERE total <= $4 OR total = bytes ORDER BY seq
"""
_STORED_BYTES = """
SELECT coalesce((SELECT sum(octet_length(entries::text)) FROM events WHERE run_id = $1), 0)
    + coalesce((SELECT sum(octet_length(outputs::text)) FROM steps WHERE run_id = $1), 0)
    + coalesce((SELECT sum(octet_length(texts)) FROM step_parts WHERE run_id = $1), 0)
"""
_ROW = "SELECT entries::text FROM events WHERE run_id = $1 AND seq = $2"
# As text: Postgres can't look into JSON that holds the character U+0000.
_MAY_HAVE_STARTED = """
SELECT seq, entries FROM events
WHERE run_id = $1 AND strpos(entries::text, '"step.started"') > 0 AND strpos(entries::text, $2) > 0
"""
_RECORD_BYTES = "SELECT coalesce(sum(octet_length(outputs::text)), 0) FROM steps WHERE run_id = $1"
_IS_LISTED = "kind = 'map' OR bytes <= $2 AND total <= $3"
_STEPS = f"""
SELECT {", ".join(SHORT_STEP_COLUMNS)}, CASE WHEN {_IS_LISTED} THEN outputs END AS outputs,
    CASE WHEN NOT ({_IS_LISTED}) THEN bytes END AS outputs_bytes
FROM (
    SELECT *, sum(bytes) FILTER (WHERE bytes <= $2) OVER (ORDER BY seq DESC, node, visit, item) AS total
    FROM (SELECT *, octet_length(outputs::text) AS bytes FROM steps WHERE run_id = $1 AND kind <> 'decision') sized
) summed
ORDER BY seq, node, visit, item < 0, item
"""  # noqa: S608  # names, and a constant
_CALLS = f"""
SELECT {", ".join(SHORT_CALL_COLUMNS)} FROM model_calls WHERE run_id = $1 ORDER BY seq < 0, abs(seq)
"""  # noqa: S608  # names
_TEXTS = """
SELECT seq, texts FROM (
    SELECT seq, texts, sum(octet_length(texts)) OVER (ORDER BY seq) - octet_length(texts) AS before
    FROM (
        SELECT seq, texts FROM model_calls WHERE run_id = $1 AND seq > $2 AND seq <= $3 AND texts IS NOT NULL
        ORDER BY seq LIMIT $5
    ) next
) sizes
WHERE before < $4 ORDER BY seq
"""
_SPENT = """
SELECT coalesce(sum(coalesce(cost_usd, reserved_usd)), 0),
    coalesce(sum(coalesce(tokens_in + tokens_out, reserved_tokens)), 0)::bigint, count(*)::int
FROM step_parts WHERE run_id = $1 AND tool IS NULL
"""
_HAS_ENDED = "status IN ('succeeded', 'failed')"
# The last call by itself: of a whole row, all columns are read, and the texts of a step's calls may be long.
_OPEN_STEPS = f"""
SELECT s.*, c.*, (
    SELECT p FROM step_parts p WHERE (p.run_id, p.node, p.visit, p.item) = (s.run_id, s.node, s.visit, s.item)
        AND part > 0 AND tool IS NULL
    ORDER BY part DESC LIMIT 1
) AS last_call
FROM steps s CROSS JOIN LATERAL (
    SELECT count(*) AS calls, (
            SELECT max(part) FROM step_parts l
            WHERE (l.run_id, l.node, l.visit, l.item) = (s.run_id, s.node, s.visit, s.item)
        ) AS last_part,
        CASE WHEN count(*) = count(tokens_in) THEN sum(tokens_in) END AS sum_in,
        CASE WHEN count(*) = count(tokens_out) THEN sum(tokens_out) END AS sum_out,
        CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END AS sum_usd
    FROM step_parts p WHERE (p.run_id, p.node, p.visit, p.item) = (s.run_id, s.node, s.visit, s.item)
        AND tool IS NULL
) c
WHERE s.run_id = $1 AND NOT {_HAS_ENDED}
"""  # noqa: S608  # a constant
_PARTS = """
SELECT part, question, call, tool, status, result FROM step_parts
WHERE (run_id, node, visit, item) = ($1, $2, $3, $4) AND (tool IS NOT NULL OR result IS NOT NULL) ORDER BY part
"""
_SNAPSHOT = f"""
WITH snapshot AS (
    SELECT coalesce(max(through_seq), {_FIRST}) AS through_seq, min(state::text) AS state
    FROM snapshots WHERE run_id = $1 AND engine = $2 AND octet_length(state::text) <= $5
),
sized AS (
    SELECT seq, coalesce(octet_length(outputs::text), 0) AS bytes
    FROM steps, snapshot WHERE run_id = $1 AND seq > through_seq AND {_HAS_ENDED}
),
ended AS (SELECT *, sum($3 + bytes) OVER (ORDER BY seq) / $4 AS page FROM sized)
SELECT *, (SELECT max(bytes) FROM ended) AS largest,
    ARRAY(SELECT max(seq) FROM ended GROUP BY page ORDER BY 1) AS pages
FROM snapshot
"""  # noqa: S608  # constants
_ENDED_STEPS = f"""
SELECT node, visit, item, status, handled, next::text, outputs::text, error::text
FROM steps WHERE run_id = $1 AND seq > $2 AND seq <= $3 AND {_HAS_ENDED} ORDER BY seq, node, visit, item < 0, item
"""  # noqa: S608  # a constant
_STARTED = "SELECT max(start_seq) FROM steps WHERE run_id = $1 AND node = $2 AND visit = $3 AND start_seq > 0"
_ENDED = "SELECT min(seq) FROM steps WHERE run_id = $1 AND node = $2 AND visit = $3"
