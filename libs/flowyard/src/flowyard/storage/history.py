"""What has happened in a run: its events, its steps, its model calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from flowyard.errors import UnknownStep
from flowyard.runs.run import Entry, Step
from flowyard.storage.database import Database, dumps
from flowyard.storage.packing import unpacked
from flowyard.storage.rows import CallRow, call_of, step_of


class History:
    """Reads only: what is here was written under a claim."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, run_id: UUID, *, after: int = 0, most: int = 1000) -> list[Entry]:
        """The run's events after number `after`, in order. About `most`: what was committed together stays so."""
        rows = await self._database.rows(
            "SELECT seq, entries FROM events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3", run_id, after, most
        )
        told = [entry for row in rows for entry in unpacked(row["seq"], row["entries"])]
        return [entry for entry in told if entry.seq > after][:most]

    async def pages(self, run_id: UUID, *, rows: int) -> AsyncIterator[list[Entry]]:
        """All events, in order; what so many commits have told at a time. A commit may tell a megabyte."""
        after = 0
        while found := await self._database.rows(_PAGE, run_id, after, rows):
            yield [entry for row in found for entry in unpacked(row["seq"], row["entries"])]
            after = found[-1]["seq"]
            if len(found) < rows:
                return

    async def steps(self, run_id: UUID) -> list[Step]:
        """In the order in which they ended."""
        rows = await self._database.rows(
            "SELECT node, visit, item, status, seq, started_at, duration_s, outputs, error, handled, tries"
            " FROM steps WHERE run_id = $1 ORDER BY seq, node, visit, item",
            run_id,
        )
        return [step_of(row) for row in rows]

    async def calls(self, run_id: UUID) -> list[CallRow]:
        rows = await self._database.rows("SELECT * FROM model_calls WHERE run_id = $1 ORDER BY seq", run_id)
        return [call_of(row) for row in rows]

    async def started_at_seq(self, run_id: UUID, node: str, visit: int) -> int:
        """The number of the event with which a step began. Raises UnknownStep."""
        rows = await self._database.rows(_MAY_TELL, run_id, dumps(node))
        told = [entry for row in rows for entry in unpacked(row["seq"], row["entries"]) if entry.type == "step.started"]
        began = [entry.seq for entry in told if (entry.data["node"], entry.data["visit"]) == (node, visit)]
        if began:
            # The last time: before that, a retried run may have begun it and failed.
            return int(max(began))
        # A fork has no events of the steps that it took along: they ended in the order of their numbers.
        seq = await self._database.value(_ENDED, run_id, node, visit)
        if seq is None:
            raise UnknownStep(f"{node}#{visit}" if visit > 1 else node)
        return int(seq)


_PAGE = "SELECT seq, entries FROM events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
# As text: Postgres can't look into JSON that holds the character U+0000.
_MAY_TELL = """
SELECT seq, entries FROM events
WHERE run_id = $1 AND strpos(entries::text, '"step.started"') > 0 AND strpos(entries::text, $2) > 0
"""
_ENDED = "SELECT min(seq) FROM steps WHERE run_id = $1 AND node = $2 AND visit = $3"
