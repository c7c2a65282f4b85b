"""The rows whose events are published, in their order, and how far they are.

Each row of `events`, and each run when it is inserted, takes the next position of a sequence. Positions of one run
ascend, since whoever inserts has locked the run or its claim. But of two transactions the one with the lower position
may commit last, so the rows after a position are read up to a Mark only: there, each transaction that took a position
has ended. Transactions have their number before they take a position (see `tables.columns.POSITION`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from flowyard.runs.run import Entry
from flowyard.storage.database import Database
from flowyard.storage.repeats import patterns_of, whole_rows

_STREAM: Final = "nats"
"""The name of the row: there is one stream."""
_MOST_ROWS: Final = 500
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of JSON in the rows of one page; and of outputs that are put back into it."""


class Mark(NamedTuple):
    """The last position that was taken, and the number of a transaction that began later."""

    position: int
    transaction: int


@dataclass(frozen=True, slots=True)
class Seen:
    """`mark`: None if there is nothing new. `oldest_transaction`: the lowest number of those that haven't ended.

    `lag_s`: the age of the first event that isn't published; 0 if there is none.
    """

    mark: Mark | None
    oldest_transaction: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class PublicRow:
    """Events of one commit of one run."""

    position: int
    run_id: UUID
    workflow: str
    entries: list[Entry]


class PublicEvents:
    """What one process, the holder, needs to publish. `holder`: its name, the same after a restart."""

    def __init__(self, database: Database, holder: str, *, lease_s: float) -> None:
        self._database = database
        self._holder = holder
        self._lease_s = lease_s

    async def hold(self) -> int | None:
        """The position to go on after; None if another process publishes. The first time: the end, as it is now."""
        position: int | None = await self._database.value(_HOLD, _STREAM, self._holder, self._lease_s)
        return position

    async def look(self, after: int) -> Seen:
        row = await self._database.row(_LOOK, after)
        assert row is not None  # noqa: S101  # it always returns one
        mark = Mark(row["position"], row["transaction"]) if row["transaction"] is not None else None
        return Seen(mark, row["oldest"], row["lag_s"] or 0.0)

    async def read(self, after: int, until: Mark, *, kinds: Collection[str]) -> list[PublicRow]:
        """The next rows, with their events of these types; none: they are all read."""
        rows = await self._database.rows(_READ, after, until.position, _MOST_ROWS, _MOST_BYTES, patterns_of(kinds))
        whole = await whole_rows(self._database, rows, most_bytes=_MOST_BYTES, kinds=kinds)
        return [
            PublicRow(row["position"], row["run_id"], row["workflow"] or "", entries if row["workflow"] else [])
            for row, entries in zip(rows, whole, strict=False)
        ]

    async def advance(self, position: int) -> bool:
        """Remembers that everything up to a position is published. False if another process has taken over."""
        return bool(await self._database.execute(_ADVANCE, _STREAM, self._holder, self._lease_s, position))

    async def release(self) -> None:
        """Lets another process go on at once."""
        await self._database.execute(_RELEASE, _STREAM, self._holder)

    async def forget(self) -> None:
        """Nothing is published any more: whoever publishes later begins with what happens then."""
        await self._database.execute("DELETE FROM event_relays WHERE name = $1", _STREAM)


_LAST: Final = "(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_positions)"

_HOLD: Final = f"""
INSERT INTO event_relays AS r (name, position, holder, lease_until)
VALUES ($1, {_LAST}, $2, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = $2, lease_until = now() + make_interval(secs => $3)
WHERE r.holder IS NULL OR r.holder = $2 OR r.lease_until < now()
RETURNING position
"""  # noqa: S608  # a constant

# The sequence is read first, and our own transaction gets its number after that.
_LOOK: Final = """
SELECT position, CASE WHEN position > $1 THEN pg_current_xact_id()::text::bigint END AS transaction,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
    CASE WHEN position > $1 THEN greatest(0, extract(epoch FROM clock_timestamp() - least(
        (SELECT to_timestamp((entries -> 0 ->> 0)::bigint / 1e6) FROM events
            WHERE events.position > $1 ORDER BY events.position LIMIT 1),
        (SELECT created_at FROM runs WHERE runs.position > $1 ORDER BY runs.position LIMIT 1)
    )))::float8 END AS lag_s
FROM (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS position FROM event_positions OFFSET 0) last
"""

# The first event of a run that is no fork isn't stored: see `repeats`.
_READ: Final = """
SELECT page.position, page.run_id, page.seq, page.entries, r.workflow FROM (
    SELECT *, sum(octet_length(entries::text)) OVER (ORDER BY position) AS total FROM (
        (
            SELECT position, run_id, seq, entries FROM events
            WHERE position > $1 AND position <= $2 AND entries::text LIKE ANY($5) ORDER BY position LIMIT $3
        )
        UNION ALL
        (
            SELECT position, id, 1, json_build_array(json_build_array(
                (extract(epoch FROM created_at) * 1000000)::bigint, 'run.queued', json_build_object()))
            FROM runs WHERE position > $1 AND position <= $2 AND forked_from IS NULL ORDER BY position LIMIT $3
        )
        ORDER BY position LIMIT $3
    ) next
) page LEFT JOIN runs r ON r.id = page.run_id
WHERE total <= $4 OR total = octet_length(page.entries::text) ORDER BY page.position
"""

_ADVANCE: Final = """
UPDATE event_relays SET position = $4, lease_until = now() + make_interval(secs => $3) WHERE name = $1 AND holder = $2
"""

_RELEASE: Final = "UPDATE event_relays SET holder = NULL, lease_until = NULL WHERE name = $1 AND holder = $2"
