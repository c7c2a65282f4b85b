"""Model calls of executors whose claim was over before a row of the call was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flowyard.language.providers import UNPAID
from flowyard.storage.database import Database
from flowyard.storage.rows import CallRow, place_of

_EPOCHS: Final = 2**15 - 1
_CALLS: Final = 2**16 - 1


@dataclass(frozen=True, slots=True)
class UnwrittenCall:
    """A call that was made, and of which no row is on disk. `row`: the newest; `begun_at`: when the call began."""

    row: CallRow
    begun_at: datetime


class LostCalls:
    """Adds calls to the ledger, without a claim: nothing else of their run changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, run_id: UUID, epoch: int, calls: Sequence[UnwrittenCall]) -> list[UnwrittenCall]:
        """Adds all unwritten calls of a claim. Returns those that are new: none if the run is deleted.

        They have no events, so their numbers are below 0, computed from the claim and the call: adding them again
        changes nothing. Raises Unavailable.
        """
        first = epoch % _EPOCHS * (_CALLS + 1) + 1
        numbered = dict(zip(range(-first, -first - _CALLS, -1), calls, strict=False))
        columns = zip(*(_values(number, call) for number, call in numbered.items()), strict=True)
        rows = await self._database.rows(_ADD, run_id, sorted(UNPAID), *(list(column) for column in columns))
        added = {row["part"] for row in rows}
        return [call for number, call in numbered.items() if number in added]


def _values(number: int, call: UnwrittenCall) -> tuple[object, ...]:
    row = call.row
    facts = row.part, row.round, row.question, row.provider, row.model, row.at, call.begun_at, row.duration_s
    return (number, *place_of(row.step), *facts, row.retries)


# If the answer to a commit was lost, and then the claim, the row of that commit is there: its time shows that it is
# of the same call, and not of one that the next claim made.
_ADD: Final = """
WITH run AS (SELECT id FROM runs WHERE id = $1 FOR KEY SHARE)
INSERT INTO step_parts (run_id, seq, part, node, visit, item, round, question, status, error, cost_usd,
    provider, model, at, duration_s, retries)
SELECT run.id, c.number, c.number, c.node, c.visit, c.item, c.round, c.question, 'lost', 'executor_lost',
    CASE WHEN c.provider = ANY($2) THEN 0 END, c.provider, c.model, c.at, c.duration_s, c.retries
FROM run CROSS JOIN unnest(
    $3::int[],         $4::text[],   $5::int[],  $6::int[],       $7::int[],         $8::smallint[], $9::smallint[],
    $10::text[],       $11::text[],  $12::timestamptz[],          $13::timestamptz[],
    $14::real[],       $15::smallint[]
) AS c (
    number,            node,         visit,      item,            part,              round,          question,
    provider,          model,        at,                          begun_at,
    duration_s,        retries
)
WHERE NOT EXISTS (
    SELECT FROM step_parts p
    WHERE (p.run_id, p.node, p.visit, p.item, p.part) = (run.id, c.node, c.visit, c.item, c.part)
        AND p.at IN (c.begun_at, c.at)
)
ON CONFLICT DO NOTHING
RETURNING part
"""
