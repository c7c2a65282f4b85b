"""Moves of a run that its executor doesn't make: cancel, retry, and those of a sweep.

Each is one transaction: it locks the run's row, and checks the move against the table of legal moves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias, assert_never
from uuid import UUID

import asyncpg

from flowyard.access import Actor
from flowyard.errors.requests import UnknownRun, UnknownWorkflow
from flowyard.language.providers import UNPAID
from flowyard.runs.entries import StoredEvent, decode_all, failure_data, stored
from flowyard.runs.events import RunFinished, RunQueued
from flowyard.runs.open_calls import OpenCalls, lost_call
from flowyard.runs.recovery import GRACE, Due, RunSnapshot, due_move
from flowyard.runs.run import OPEN, Entry, State, after
from flowyard.storage.audit import write_act
from flowyard.storage.database import Database
from flowyard.storage.packing import packed, unpacked
from flowyard.storage.rows import CALL_COLUMNS, CallRow, call_of, call_values

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Moved:
    """A run after a move. `entry`: the move's event; None if only a request was stored, for the run's executor.

    `lost`: the events just before it, which end the open calls of a lost executor.
    """

    run_id: UUID
    workflow: str
    status: State
    entry: Entry | None
    lost: tuple[StoredEvent, ...] = ()


class Moves:
    """Moves runs that no executor of this process has claimed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, run_id: UUID, *, by: Actor | None = None) -> Moved:
        """Ends the run, or requests it from its executor if that is alive. Raises UnknownRun, IllegalMove."""
        async with self._database.transaction() as connection:
            moved = await cancel_in(connection, run_id)
            await write_act(connection, "run.cancelled", by, workflow=moved.workflow, objects=[str(run_id)])
            return moved

    async def retry(self, run_id: UUID, *, by: Actor | None = None) -> Moved:
        """Queues a failed run to go on from its failed step. Raises UnknownRun, IllegalMove, UnknownWorkflow."""
        async with self._database.transaction() as connection:
            run = await _locked(connection, run_id)
            after("retry", run["status"], run_id)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM workflows WHERE name = $1)", run["workflow"]):
                raise UnknownWorkflow(run["workflow"])
            await write_act(connection, "run.retried", by, workflow=run["workflow"], objects=[str(run_id)])
            # A run that has ended has no claim that would have to be taken away.
            return await _write_move(connection, run, Due("retry", "retried"), run["last_seq"] + 1)

    async def sweep(self, most: int = 100) -> list[Moved]:
        """Moves up to `most` runs whose time has come or whose executor is gone. Many processes may sweep at once."""
        rows = await self._database.rows(_SWEEP, most, GRACE)
        woken = [_woken(row) for row in rows if row["queued_at"] is not None]
        swept = [await self._sweep_run(row["id"]) for row in rows if row["queued_at"] is None]
        return [*woken, *(moved for moved in swept if moved is not None)]

    async def release(self, run_id: UUID, executor: str) -> Moved | None:
        """Queues a run of an executor that was restarted under the same name, without waiting for its lease to expire.

        None if that executor hasn't claimed the run. Raises UnknownRun.
        """
        async with self._database.transaction() as connection:
            run = await _locked(connection, run_id)
            if run["executor"] != executor or run["status"] != "running":
                return None
            due = due_move(_snapshot(run, lease_until=None), run["at"])
            return await _move(connection, run, replace(due, reason="released")) if due else None

    async def _sweep_run(self, run_id: UUID) -> Moved | None:
        async with self._database.transaction() as connection:
            run = await connection.fetchrow(f"{_LOCK} SKIP LOCKED", run_id)
            due = due_move(_snapshot(run), run["at"]) if run is not None and run["status"] in OPEN else None
            return await _move(connection, run, due) if run is not None and due is not None else None


async def cancel_in(connection: Connection, run_id: UUID) -> Moved:
    """`Moves.cancel` as a part of a transaction. Raises UnknownRun, IllegalMove."""
    run = await _locked(connection, run_id)
    after("cancel", run["status"], run_id)
    await connection.execute("UPDATE runs SET cancel_requested_at = now() WHERE id = $1", run_id)
    due = due_move(_snapshot(run, cancel_requested=True), run["at"])
    moved = await _move(connection, run, due) if due is not None else None
    return moved or Moved(run_id, run["workflow"], run["status"], None)


_LOCK: Final = """
SELECT r.id, r.workflow, r.status, r.attempt, r.max_attempts, r.deadline, r.timeout_s, r.last_seq, r.epoch,
    r.cancel_requested_at IS NOT NULL AS cancel_requested, r.started_at, clock_timestamp() AS at,
    r.engine, c.executor, c.lease_until, c.step_deadline, c.claimed_at, c.seen
FROM runs r LEFT JOIN claims c ON c.run_id = r.id WHERE r.id = $1 FOR UPDATE OF r
"""
"""Locks the run, but not its claim, which its executor may change meanwhile: `_TAKE_OVER` looks at it again."""

_DUE: Final = """
SELECT r.id FROM runs r LEFT JOIN claims c ON c.run_id = r.id
WHERE r.status = 'waiting' AND (r.deadline < now() OR r.cancel_requested_at IS NOT NULL)
   OR r.status = 'running' AND (r.deadline < now() OR c.lease_until IS NULL OR c.lease_until < now()
       OR c.step_deadline < now() - $2::interval)
UNION ALL
SELECT r.id FROM runs r WHERE r.status = 'queued' AND (r.deadline < now() OR r.cancel_requested_at IS NOT NULL)
LIMIT $1
"""

_SWEEP: Final = f"""
WITH due AS (
    SELECT id FROM runs WHERE status = 'waiting' AND wake_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
),
woken AS (
    UPDATE runs r SET status = 'queued', epoch = r.epoch + 1, last_seq = r.last_seq + 1, queued_at = now(),
        wake_at = NULL
    FROM due WHERE r.id = due.id RETURNING r.*
),
kept_claim AS (UPDATE claims c SET epoch = w.epoch, last_seq = w.last_seq FROM woken w WHERE c.run_id = w.id),
new_event AS (
    INSERT INTO events (run_id, seq, entries) SELECT id, last_seq, json_build_array(json_build_array(
        (extract(epoch FROM now()) * 1000000)::bigint, 'run.queued', json_build_object('reason', 'woken'))) FROM woken
)
SELECT id, workflow, last_seq, queued_at FROM woken
UNION ALL
SELECT id, NULL, NULL, NULL FROM ({_DUE}) AS others
"""  # noqa: S608
"""Wakes runs, which have no executor, and looks for others that are due. All in one statement, since a run may wake a
thousand times.
"""

_TAKE_OVER: Final = """
WITH abandoned AS (
    SELECT run_id FROM claims
    WHERE run_id = $1 AND ($2 OR executor IS NULL OR lease_until IS NULL OR lease_until < clock_timestamp()
        OR step_deadline < clock_timestamp() - $4::interval)
    FOR UPDATE SKIP LOCKED
)
UPDATE claims c SET executor = NULL, lease_until = NULL, step_deadline = NULL, epoch = $3,
    spent_usd = CASE WHEN c.executor IS NULL THEN c.spent_usd END
FROM abandoned WHERE c.run_id = abandoned.run_id
RETURNING c.last_seq + 1
"""
"""Skips a claim that is locked: the executor is committing, and waits for the run's row that we have locked."""

_MOVE: Final = """
WITH moved AS (
    UPDATE runs SET status = $2, last_seq = $3, epoch = $4, error = $5::json, outputs = NULL,
        queued_at = CASE WHEN $2 = 'queued' THEN now() ELSE queued_at END,
        finished_at = CASE WHEN $2 IN ('failed', 'cancelled') THEN now() END,
        wake_at = NULL, worked_s = worked_s + $8,
        -- A retry resets the run's attempts and its deadline, and forgets an earlier request to cancel it.
        attempt = CASE WHEN $7 THEN 0 ELSE attempt END,
        deadline = CASE WHEN $7 THEN NULL ELSE deadline END,
        cancel_requested_at = CASE WHEN $7 THEN NULL ELSE cancel_requested_at END
    WHERE id = $1 RETURNING id, status
),
old_claim AS (DELETE FROM claims USING moved WHERE run_id = moved.id AND moved.status <> 'queued'),
kept_claim AS (
    UPDATE claims SET last_seq = $3 FROM moved WHERE claims.run_id = moved.id AND moved.status = 'queued'
),
old_snapshot AS (DELETE FROM snapshots USING moved WHERE run_id = moved.id AND moved.status <> 'queued'),
-- What a retry executes again doesn't go on from what was said before: that has led to the failure.
forgotten AS (
    UPDATE step_parts p SET result = NULL FROM moved JOIN steps s ON s.run_id = moved.id
    WHERE $7 AND s.status = 'failed' AND s.handled = 'fail' AND p.result IS NOT NULL
        AND (p.run_id, p.node, p.visit, p.item) = (s.run_id, s.node, s.visit, s.item)
),
-- A retry marks what it executes again, and gives it a new deadline. What lost its executor keeps its deadline.
old_steps AS (
    UPDATE steps SET status = CASE WHEN steps.handled = 'fail' THEN 'retrying' ELSE 'interrupted' END,
        wake_at = CASE WHEN moved.status = 'queued' THEN wake_at END,
        deadline = CASE WHEN NOT $7 THEN deadline END, left_s = CASE WHEN NOT $7 THEN left_s END
    FROM moved WHERE steps.run_id = moved.id AND (
        steps.status = 'running' OR steps.status = 'waiting' AND moved.status <> 'queued'
        OR $7 AND (steps.status = 'interrupted' OR steps.status = 'failed' AND steps.handled = 'fail')
    )
)
INSERT INTO events (run_id, seq, entries) SELECT id, $3, $6::text::json FROM moved
"""

_LOSE_CALLS: Final = """
WITH open AS (
    SELECT node, visit, item, part, row_number() OVER (ORDER BY seq, node, visit, item) - 1 AS place
    FROM step_parts WHERE run_id = $1 AND status IN ('reserved', 'running') AND tool IS NULL
)
UPDATE step_parts p SET status = 'lost', error = 'executor_lost', seq = $2 + open.place,
    cost_usd = CASE WHEN p.provider = ANY($3) THEN 0 END
FROM open WHERE p.run_id = $1 AND (p.node, p.visit, p.item, p.part) = (open.node, open.visit, open.item, open.part)
RETURNING p.*
"""
"""The calls that a lost executor had begun. $2: the number of the first one's event."""

_LOST_CALL: Final = f"""
INSERT INTO step_parts ({", ".join(CALL_COLUMNS)})
VALUES ({", ".join(f"${number}" for number in range(1, len(CALL_COLUMNS) + 1))})
"""  # noqa: S608  # names of columns


async def _locked(connection: Connection, run_id: UUID) -> asyncpg.Record:
    run = await connection.fetchrow(_LOCK, run_id)
    if run is None:
        raise UnknownRun(str(run_id))
    return run


def _snapshot(run: asyncpg.Record, **changes: Any) -> RunSnapshot:
    return RunSnapshot(**{**{field.name: run[field.name] for field in fields(RunSnapshot)}, **changes})


async def _move(connection: Connection, run: asyncpg.Record, due: Due) -> Moved | None:
    """Takes the claim away, and writes the move. None if the run's executor is alive after all."""
    force = due.reason in ("run_timeout", "released")
    seq = await connection.fetchval(_TAKE_OVER, run["id"], force, run["epoch"] + 1, GRACE)
    if seq is None and run["status"] == "running":
        return None
    # Without a claim, the number of the last event is in the run's row.
    return await _write_move(connection, run, due, run["last_seq"] + 1 if seq is None else seq)


async def _write_move(connection: Connection, run: asyncpg.Record, due: Due, seq: int) -> Moved:
    """`seq`: the number of the event that records it. Raises IllegalMove."""
    run_id, status = run["id"], after(due.move, run["status"], run["id"])
    lost = await _lose_calls(connection, run, seq) if due.move in ("fail", "cancel", "hand_back") else ()
    seq += len(lost)
    entry = stored(seq, run["at"], _event(run, due)).entry
    error = failure_data(due.error) if due.error else None
    text = packed([*(call.entry for call in lost), entry])
    again = due.move == "retry"
    await connection.execute(_MOVE, run_id, status, seq, run["epoch"] + 1, error, text, again, _worked_s(run))
    return Moved(run_id, run["workflow"], status, entry, lost)


async def _lose_calls(connection: Connection, run: asyncpg.Record, seq: int) -> tuple[StoredEvent, ...]:
    """Ends the calls of the run's lost executor in the ledger; their events, numbered from `seq` on."""
    rows = sorted(
        map(call_of, await connection.fetch(_LOSE_CALLS, run["id"], seq, list(UNPAID))), key=lambda row: row.seq
    )
    if rows or run["engine"] > 0 or run["started_at"] is None:
        calls = [(row, lost_call(row.step, row.provider, row.model)) for row in rows]
        return tuple(stored(row.seq, row.at, call) for row, call in calls)
    return await _write_unrecorded_calls(connection, run, seq)


async def _write_unrecorded_calls(connection: Connection, run: asyncpg.Record, seq: int) -> tuple[StoredEvent, ...]:
    """An executor of the release before had no rows of open calls: its events tell of them."""
    calls, at = OpenCalls(), run["at"]
    query = "SELECT seq, entries FROM events WHERE run_id = $1 ORDER BY seq"
    # Few rows at a time: one may hold a megabyte.
    async for row in connection.cursor(query, run["id"], prefetch=16):
        for event in decode_all(unpacked(row["seq"], row["entries"])):
            calls.add(event.event)
            # Nothing is known of what an executor did after its last event.
            at = event.at
    lost = calls.lost()
    for number, call in enumerate(lost, seq):
        await connection.execute(_LOST_CALL, *call_values(run["id"], CallRow.of(call, seq=number, at=at)))
    return tuple(stored(number, at, call) for number, call in enumerate(lost, seq))


def _woken(row: asyncpg.Record) -> Moved:
    entry = stored(row["last_seq"], row["queued_at"], RunQueued("woken")).entry
    return Moved(row["id"], row["workflow"], "queued", entry)


def _event(run: asyncpg.Record, due: Due) -> RunQueued | RunFinished:
    match due.move:
        case "hand_back":
            return RunQueued(due.reason, run["attempt"])
        case "retry":
            return RunQueued(due.reason)
        case "cancel":
            return RunFinished("cancelled", _duration_s(run), {}, due.error, due.reason)
        case "fail":
            return RunFinished("failed", _duration_s(run), {}, due.error, due.reason)
        case _:
            assert_never(due.move)


def _worked_s(run: asyncpg.Record) -> float:
    """Seconds for which the executor that loses the run had it: at most until its lease ended."""
    if run["status"] != "running" or run["claimed_at"] is None:
        return 0.0
    until = min(run["at"], run["lease_until"] or run["at"])
    seconds: float = (until - run["claimed_at"]).total_seconds()
    return max(0.0, seconds)


def _duration_s(run: asyncpg.Record) -> float:
    """Since its first claim; 0 for a run that was never claimed."""
    return (run["at"] - run["started_at"]).total_seconds() if run["started_at"] is not None else 0.0
