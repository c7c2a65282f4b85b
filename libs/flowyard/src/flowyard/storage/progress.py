"""How far many runs are, in one statement: for whoever follows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from flowyard.storage.database import Database


class Progress:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_seqs(self, run_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The number of the newest event of each run. One that isn't there isn't in the answer."""
        rows = await self._database.rows(
            "SELECT r.id, coalesce(c.last_seq, r.last_seq) AS seq"
            " FROM runs r LEFT JOIN claims c ON c.run_id = r.id WHERE r.id = ANY($1)",
            list(run_ids),
        )
        return {row["id"]: row["seq"] for row in rows}
