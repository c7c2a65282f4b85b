"""Ends of runs that triggers wait for. A trigger on `runs` inserts them, in the transaction in which the run ends.

Each is deleted when its delivery is recorded. Several processes may take them: a row that one takes is leased to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.runs.entries import decode_failure
from flowyard.runs.events import Failure
from flowyard.runs.run import State
from flowyard.storage.database import Database


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of the run `run_id` for one trigger. `seq`: of the event that ended it; `depth`: of the run in its chain.

    `takes`: how often it was taken, this time included: more than once if it could not be recorded, or its process
    was killed. `revision`: None if the run was deleted.
    """

    workflow: str
    trigger: str
    run_id: UUID
    seq: int
    status: State
    ended_at: datetime
    error: Failure | None
    takes: int
    of_workflow: str | None
    revision: int | None
    depth: int | None


class RunEnds:
    """The queue of ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, most: int, *, lease_s: float) -> list[RunEnd]:
        """Takes up to `most`, the oldest first. No other process gets them for `lease_s` seconds."""
        rows = await self._database.rows(_TAKE, most, lease_s)
        return sorted(map(_end, rows), key=lambda end: (end.ended_at, end.run_id))

    async def done(self, end: RunEnd) -> None:
        """Its delivery is recorded, or nobody waits for it any more."""
        await self._database.execute(_DONE, end.workflow, end.trigger, end.run_id, end.seq)

    async def put_back(self, end: RunEnd, *, pause_s: float) -> None:
        """It may be taken again in `pause_s` seconds; this take isn't counted."""
        await self._database.execute(_PUT_BACK, end.workflow, end.trigger, end.run_id, end.seq, pause_s)

    async def lag_s(self) -> float:
        """How many seconds ago the oldest one happened; 0 if there is none."""
        return float(await self._database.value(_LAG) or 0.0)


def _end(row: Mapping[str, Any]) -> RunEnd:
    values = dict(row)
    return RunEnd(**values | {"error": decode_failure(values["error"]) if values["error"] is not None else None})


_TAKE: Final = """
WITH taken AS (
    UPDATE run_ends e SET taken_until = now() + make_interval(secs => $2), takes = e.takes + 1
    FROM (
        SELECT workflow, trigger, run_id, seq FROM run_ends WHERE taken_until IS NULL OR taken_until < now()
        ORDER BY ended_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) next
    WHERE (e.workflow, e.trigger, e.run_id, e.seq) = (next.workflow, next.trigger, next.run_id, next.seq)
    RETURNING e.workflow, e.trigger, e.run_id, e.seq, e.status, e.ended_at, e.error, e.takes
)
SELECT taken.*, r.workflow AS of_workflow, r.revision, r.depth FROM taken LEFT JOIN runs r ON r.id = taken.run_id
"""

_PLACE: Final = "(workflow, trigger, run_id, seq) = ($1, $2, $3, $4)"
_DONE: Final = f"DELETE FROM run_ends WHERE {_PLACE}"  # noqa: S608  # a constant
_PUT_BACK: Final = f"""
UPDATE run_ends SET taken_until = now() + make_interval(secs => $5), takes = takes - 1 WHERE {_PLACE}
"""  # noqa: S608  # a constant
_LAG: Final = "SELECT extract(epoch FROM now() - min(ended_at))::float8 FROM run_ends"
