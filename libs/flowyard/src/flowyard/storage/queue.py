"""How full the queue is: how many runs are open, how long they wait, and whether one was forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flowyard.storage.database import Database


class QueueMeasures:
    """Answers how many runs wait or are at work, all workflows together. Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queued(self, most: int) -> int:
        """How many runs are queued; counts no further than `most`."""
        statement = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE status = 'queued' LIMIT $1) q"
        return int(await self._database.value(statement, most))

    async def depths(self) -> Mapping[str, int]:
        """How many open runs there are, per status."""
        rows = await self._database.rows(_DEPTHS)
        return {"queued": 0, "running": 0, "waiting": 0} | {row["status"]: row["n"] for row in rows}

    async def waits_for_room(self, *, longer_than_s: float) -> bool:
        """Whether a run has been queued for so long that has to be executed alone."""
        return bool(await self._database.value(_WAITS_FOR_ROOM, longer_than_s))

    async def oldest_queued_s(self) -> float:
        """For how many seconds the oldest queued run has been waiting; 0 if there is none."""
        age = await self._database.value(_OLDEST)
        return float(age or 0.0)

    async def orphaned(self) -> int:
        """How many open runs no process will move again. Anything but 0 is a defect of Flowyard.

        A run whose lease is over, or whose time has come, is moved by the next sweep: it counts only after a minute.
        """
        return int(await self._database.value(_ORPHANED))


# Two parts, since each has an index, which holds no other runs.
_OPEN: Final = """(
    SELECT id, status, wake_at, workflow FROM runs WHERE status = 'queued'
    UNION ALL SELECT id, status, wake_at, workflow FROM runs WHERE status IN ('running', 'waiting')
)"""
_DEPTHS: Final = f"SELECT status, count(*) AS n FROM {_OPEN} r GROUP BY status"  # noqa: S608  # a constant

_WAITS_FOR_ROOM: Final = """
SELECT EXISTS (
    SELECT FROM runs WHERE status = 'queued' AND attempt >= 2 AND queued_at < now() - make_interval(secs => $1)
)
"""

_OLDEST: Final = "SELECT extract(epoch FROM now() - min(queued_at))::float8 FROM runs WHERE status = 'queued'"

_ORPHANED: Final = f"""
SELECT count(*) FROM {_OPEN} r LEFT JOIN claims c ON c.run_id = r.id
WHERE CASE r.status
    WHEN 'running' THEN c.executor IS NULL OR c.lease_until IS NULL OR c.lease_until < now() - interval '1 minute'
    WHEN 'waiting' THEN r.wake_at < now() - interval '1 minute'
    WHEN 'queued' THEN c.executor IS NOT NULL OR NOT EXISTS (SELECT 1 FROM workflows w WHERE w.name = r.workflow)
    ELSE false END
"""  # noqa: S608  # a constant
