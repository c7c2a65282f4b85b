"""Fires of schedules: which are due, and the rows by which each starts one run. Times are those of the database."""

# ruff: noqa: S608  # statements are put together from words of other files

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.errors.requests import IllegalMove, UnknownRun
from flowyard.runs.deliveries import Outcome
from flowyard.runs.run import ENGINE, NewRun
from flowyard.storage.audit import Act, write_act
from flowyard.storage.database import Database, dumps
from flowyard.storage.moves import Connection, Moved, cancel_in
from flowyard.storage.runs import PLAIN_COLUMNS, PlainRun
from flowyard.storage.triggers import SELECT_TRIGGERS, StoredTrigger


@dataclass(frozen=True, slots=True)
class Outlook:
    """`wait_s`: until a schedule has to be looked at, None if there is none. `late_s`: of the one that is most late."""

    wait_s: float | None
    late_s: float


@dataclass(frozen=True, slots=True)
class WaitingFire:
    """A fire that starts its run when an earlier one has ended. `facts`: what its texts may name."""

    id: UUID
    at: datetime
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRow:
    """`id`: of the delivery. `reason`: why it has started no run."""

    id: UUID
    at: datetime
    facts: Mapping[str, Any]
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BackfilledFires:
    """`added`: fires that had no row; `again`: those that had started no run."""

    added: int
    again: int


@dataclass(slots=True)
class LockedSchedule:
    """A live schedule that no other process can change. `now`: when it was locked; `fires`: that were recorded.

    `open_runs`: those of its runs that had not ended then.
    """

    workflow: str
    trigger: str
    now: datetime
    handled_at: datetime
    fires: int
    open_runs: list[UUID]
    _connection: Connection

    async def waiting(self, most: int) -> list[WaitingFire]:
        """The earliest ones."""
        rows = await self._connection.fetch(_WAITING, self.workflow, self.trigger, most)
        return [WaitingFire(row["id"], row["fire_at"], row["payload"]) for row in rows]

    async def add(self, row: FireRow, run: NewRun | None = None) -> bool:
        """Adds the fire, and the run that it starts. False: the instant has a row already, and nothing was added."""
        payload = dumps(row.facts)
        about = row.outcome, row.reason, run.id if run is not None else None, row.at, payload, len(payload)
        if await self._connection.fetchval(_ADD, row.id, self.workflow, self.trigger, *about) is None:
            return False
        self.fires += 1
        if run is not None:
            await self._start(run)
        return True

    async def settle(self, fire: WaitingFire, outcome: Outcome, reason: str | None, run: NewRun | None = None) -> None:
        """Ends the waiting of a fire, and adds the run that it starts."""
        await self._connection.execute(_SETTLE, fire.id, outcome, reason, run.id if run is not None else None)
        if run is not None:
            await self._start(run)

    async def taken(self, begin: datetime, end: datetime) -> set[datetime]:
        """The instants of fires that have started a run, or wait for it."""
        rows = await self._connection.fetch(_TAKEN, self.workflow, self.trigger, begin, end)
        return {row["fire_at"] for row in rows}

    async def backfill(self, rows: Sequence[FireRow], *, by: Actor | None = None) -> BackfilledFires:
        """Adds fires that wait, in order. Those that have a row, but no run, wait again."""
        payloads = [dumps(row.facts) for row in rows]
        ids, instants = [row.id for row in rows], [row.at for row in rows]
        facts = ids, instants, payloads
        result = await self._connection.fetch(_BACKFILL, self.workflow, self.trigger, *facts)
        self.fires += len(rows)
        added = sum(row["is_new"] for row in result)
        if rows:
            details = {"from": rows[0].at.isoformat(), "to": rows[-1].at.isoformat(), "fires": len(rows)}
            act: Act = "trigger.backfilled"
            objects = [self.trigger]
            await write_act(self._connection, act, by, workflow=self.workflow, objects=objects, details=details)
        return BackfilledFires(added, len(result) - added)

    async def cancel_open_runs(self) -> list[Moved]:
        """Cancels them, at once or by their executors. To be announced after the transaction."""
        moved = []
        for run_id in self.open_runs:
            # It may have ended by itself meanwhile.
            with suppress(IllegalMove, UnknownRun):
                moved.append(await cancel_in(self._connection, run_id))
        self.open_runs = []
        return moved

    async def save(self, *, handled_at: datetime, due_at: datetime) -> None:
        """`due_at`: when the schedule has to be looked at again."""
        about = handled_at, due_at, self.fires, self.open_runs
        await self._connection.execute(_SAVE, self.workflow, self.trigger, *about)

    async def _start(self, run: NewRun) -> None:
        await self._connection.execute(_ADD_RUN, ENGINE, *PlainRun.of(run).values)
        self.open_runs.append(run.id)


class Fires:
    """Finds schedules that are due, and locks them one by one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, most: int) -> list[StoredTrigger]:
        """Live schedules that have to be looked at now. If there are more, any of them: others look at once, too."""
        return [StoredTrigger(**row) for row in await self._database.rows(_DUE, most)]

    async def now(self) -> datetime:
        """The time of the database."""
        at: datetime = await self._database.value("SELECT clock_timestamp()")
        return at

    async def outlook(self) -> Outlook:
        row = await self._database.row(_OUTLOOK)
        if row is None or row["wait_s"] is None:
            return Outlook(None, 0.0)
        return Outlook(max(0.0, row["wait_s"]), max(0.0, -row["wait_s"]))

    @asynccontextmanager
    async def locked(self, trigger: StoredTrigger, *, wait: bool = False) -> AsyncIterator[LockedSchedule | None]:
        """In a transaction. None: it isn't live any more, or not in this revision.

        Without `wait` also if another process has it, or has just looked at it.
        """
        due = "" if wait else "AND t.due_at <= clock_timestamp()"
        statement = f"{_LOCK} {due} FOR UPDATE OF t {'' if wait else 'SKIP LOCKED'}"
        about = trigger.workflow, trigger.name, trigger.revision, trigger.definition
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(statement, *about)
            if row is None:
                yield None
                return
            # If we have waited for another transaction, it is later now.
            now = await connection.fetchval("SELECT clock_timestamp()") if wait else row["now"]
            open_runs = await connection.fetch(_OPEN, row["open_runs"]) if row["open_runs"] else []
            yield LockedSchedule(
                trigger.workflow,
                trigger.name,
                now,
                row["handled_at"],
                row["fires"],
                [run["id"] for run in open_runs],
                connection,
            )

    async def postpone(self, trigger: StoredTrigger, seconds: float) -> None:
        """A schedule that can't be looked at now."""
        await self._database.execute(_POSTPONE, trigger.workflow, trigger.name, seconds)

    async def give_up(self) -> int:
        """Fires that wait for a schedule that is gone are skipped. Returns how many."""
        return await self._database.execute(_GIVE_UP)


_DUE: Final = f"""
{SELECT_TRIGGERS}
WHERE (t.workflow, t.name) IN (
    SELECT workflow, name FROM triggers WHERE due_at <= clock_timestamp() AND enabled AND paused_at IS NULL
    ORDER BY random() LIMIT $1
)
"""

_OUTLOOK: Final = """
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 AS wait_s FROM triggers
WHERE due_at IS NOT NULL AND enabled AND paused_at IS NULL
"""

_LOCK: Final = """
SELECT t.handled_at, t.fires, t.open_runs, clock_timestamp() AS now FROM triggers t
WHERE t.workflow = $1 AND t.name = $2 AND t.revision = $3 AND t.rule IS NOT NULL AND t.enabled AND t.paused_at IS NULL
    -- A workflow that was deleted and applied again counts its revisions from 1 again.
    AND EXISTS (
        SELECT FROM revisions v WHERE v.workflow = t.workflow AND v.number = t.revision AND v.definition = $4
    )
"""

_OPEN: Final = "SELECT id FROM runs WHERE id = ANY($1) AND finished_at IS NULL ORDER BY id"

_WAITING: Final = """
SELECT id, fire_at, payload FROM deliveries
WHERE workflow = $1 AND trigger = $2 AND outcome = 'waiting' ORDER BY fire_at LIMIT $3
"""

_ADD: Final = """
INSERT INTO deliveries (id, workflow, trigger, outcome, reason, run_id, fire_at, payload, body_size, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9, sha256(convert_to($8::text, 'UTF8')))
ON CONFLICT (workflow, trigger, fire_at) WHERE fire_at IS NOT NULL DO NOTHING
RETURNING id
"""

_SETTLE: Final = "UPDATE deliveries SET outcome = $2, reason = $3, run_id = $4 WHERE id = $1"

_TAKEN: Final = """
SELECT fire_at FROM deliveries
WHERE workflow = $1 AND trigger = $2 AND fire_at BETWEEN $3 AND $4
    AND NOT (run_id IS NULL AND outcome IN ('skipped', 'failed', 'unmatched'))
"""

_BACKFILL: Final = """
INSERT INTO deliveries (id, workflow, trigger, outcome, fire_at, payload, body_size, digest)
SELECT g.id, $1, $2, 'waiting', g.fire_at, g.payload::json, length(g.payload), sha256(convert_to(g.payload, 'UTF8'))
FROM unnest($3::uuid[], $4::timestamptz[], $5::text[]) AS g (id, fire_at, payload)
ON CONFLICT (workflow, trigger, fire_at) WHERE fire_at IS NOT NULL DO UPDATE
SET outcome = 'waiting', reason = NULL, payload = excluded.payload, digest = excluded.digest
WHERE deliveries.run_id IS NULL AND deliveries.outcome IN ('skipped', 'failed', 'unmatched')
RETURNING xmax = 0 AS is_new
"""

_VALUES: Final = ", ".join(
    f"${i}::text::json" if name in ("inputs", "on_finish") else f"${i}"
    for i, name in enumerate(PLAIN_COLUMNS.split(", "), start=2)
)
# The revision is the current one: whoever makes another one waits for our lock of the trigger.
_ADD_RUN: Final = f"""
INSERT INTO runs ({PLAIN_COLUMNS}, engine, status, last_seq)
VALUES ({_VALUES}, $1, 'queued', 1)
"""

_SAVE: Final = """
UPDATE triggers SET handled_at = $3, due_at = $4, fires = $5, open_runs = $6 WHERE workflow = $1 AND name = $2
"""

_POSTPONE: Final = """
UPDATE triggers SET due_at = now() + make_interval(secs => $3) WHERE workflow = $1 AND name = $2 AND rule IS NOT NULL
"""

_GIVE_UP: Final = """
UPDATE deliveries d SET outcome = 'skipped', reason = 'the schedule was removed while it waited'
WHERE outcome = 'waiting' AND NOT EXISTS (
    SELECT FROM triggers t WHERE t.workflow = d.workflow AND t.name = d.trigger AND t.rule IS NOT NULL
)
"""
