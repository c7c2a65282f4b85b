"""Moves of a run by anybody but its executor: cancel, retry, and what a sweep finds due.

The run's row is locked, the move is looked up in the one table of legal moves, and everything is one transaction.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from flowyard.errors import Unavailable, UnknownRun, UnknownWorkflow
from flowyard.language.load import load_text
from flowyard.runs.entries import encoded, failure_data
from flowyard.runs.lost import OpenCalls
from flowyard.runs.recovery import Due, Held, due_move
from flowyard.runs.run import OPEN, Entry, Move, State, after
from flowyard.storage.database import Database
from flowyard.storage.packing import packed, unpacked

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Moved:
    """What has happened to a run. `entry` is None where nothing happened yet: its executor will see to it.

    `lost`: the calls that were told just before the run's end, because whoever had made them is no more.
    """

    run_id: UUID
    workflow: str
    status: State
    entry: Entry | None
    lost: tuple[Entry, ...] = ()


class Moves:
    """Changes runs that no executor of this process holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, run_id: UUID) -> Moved:
        """At once, or by its executor if it has one that is alive. Raises UnknownRun, IllegalMove."""
        async with self._database.transaction() as connection:
            run = await _locked(connection, run_id)
            after("cancel", run["status"], run_id)
            await connection.execute("UPDATE runs SET cancel_requested_at = now() WHERE id = $1", run_id)
            due = due_move(_held(run, cancel_requested=True), run["at"])
            if due is None:
                return Moved(run_id, run["workflow"], run["status"], None)
            moved = await _move(connection, run, due)
            return moved or Moved(run_id, run["workflow"], run["status"], None)

    async def retry(self, run_id: UUID) -> Moved:
        """A failed run goes on from its failed step. Raises UnknownRun, IllegalMove, UnknownWorkflow."""
        async with self._database.transaction() as connection:
            run = await _locked(connection, run_id)
            after("retry", run["status"], run_id)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM workflows WHERE name = $1)", run["workflow"]):
                raise UnknownWorkflow(run["workflow"])
            moved = await _move(connection, run, Due("retry", "retried"))
        if moved is None:
            raise Unavailable("the run")
        return moved

    async def sweep(self, most: int = 100) -> list[Moved]:
        """Finds runs whose time has come or whose executor is gone, and moves them. Many may sweep at once."""
        rows = await self._database.rows(_DUE, most)
        moved = [await self._sweep_one(row["id"]) for row in rows]
        return [one for one in moved if one is not None]

    async def release(self, run_id: UUID, executor: str) -> Moved | None:
        """Takes a run from an executor of this name that is no more: its successor says so, and needs no lease."""
        async with self._database.transaction() as connection:
            run = await _locked(connection, run_id)
            if run["executor"] != executor or run["status"] != "running":
                return None
            due = due_move(_held(run, lease_until=None), run["at"])
            return await _move(connection, run, replace(due, reason="released")) if due else None

    async def _sweep_one(self, run_id: UUID) -> Moved | None:
        async with self._database.transaction() as connection:
            run = await connection.fetchrow(f"{_LOCK} SKIP LOCKED", run_id)
            due = due_move(_held(run), run["at"]) if run is not None and run["status"] in OPEN else None
            return await _move(connection, run, due) if run is not None and due is not None else None


_LOCK: Final = """
SELECT r.id, r.workflow, r.status, r.attempt, r.max_attempts, r.wake_at, r.deadline, r.timeout_s, r.last_seq, r.epoch,
    r.cancel_requested_at IS NOT NULL AS cancel_requested, r.started_at, clock_timestamp() AS at,
    r.definition, c.executor, c.lease_until
FROM runs r LEFT JOIN claims c ON c.run_id = r.id WHERE r.id = $1 FOR UPDATE OF r
"""
"""Locks the run. Its claim is read again by whoever changes it: a commit of its executor doesn't lock the run."""

_DUE: Final = """
SELECT r.id FROM runs r LEFT JOIN claims c ON c.run_id = r.id
WHERE r.status = 'waiting' AND (r.deadline < now() OR r.wake_at <= now() OR r.cancel_requested_at IS NOT NULL)
   OR r.status = 'running' AND (r.deadline < now() OR c.lease_until IS NULL OR c.lease_until < now())
UNION ALL
SELECT r.id FROM runs r WHERE r.status = 'queued' AND (r.deadline < now() OR r.cancel_requested_at IS NOT NULL)
LIMIT $1
"""

_TAKE_OVER: Final = """
WITH mine AS (
    SELECT run_id FROM claims
    WHERE run_id = $1 AND ($2 OR executor IS NULL OR lease_until IS NULL OR lease_until < clock_timestamp())
    FOR UPDATE SKIP LOCKED
)
UPDATE claims c SET executor = NULL, lease_until = NULL, epoch = $3, last_seq = last_seq + 1
FROM mine WHERE c.run_id = mine.run_id
RETURNING c.last_seq
"""
"""Skips what is locked: its executor is writing, and waits for the run's row that we hold."""

_MOVE: Final = """
WITH moved AS (
    UPDATE runs SET status = $2, last_seq = $3, epoch = $4, error = $5::json, outputs = NULL,
        queued_at = CASE WHEN $2 = 'queued' THEN now() ELSE queued_at END,
        finished_at = CASE WHEN $2 IN ('failed', 'cancelled') THEN now() END,
        wake_at = NULL,
        -- A retry begins anew: its attempts, its time, and what was asked of the run before.
        attempt = CASE WHEN $7 THEN 0 ELSE attempt END,
        deadline = CASE WHEN $7 THEN NULL ELSE deadline END,
        cancel_requested_at = CASE WHEN $7 THEN NULL ELSE cancel_requested_at END
    WHERE id = $1 RETURNING id, status
),
over AS (SELECT id FROM moved WHERE status <> 'queued'),
freed AS (DELETE FROM claims USING over WHERE run_id = over.id),
pruned AS (DELETE FROM checkpoints USING over WHERE thread_id = over.id::text),
pruned_writes AS (DELETE FROM checkpoint_writes USING over WHERE thread_id = over.id::text),
pruned_values AS (DELETE FROM checkpoint_values USING over WHERE thread_id = over.id::text)
INSERT INTO events (run_id, seq, entries) SELECT id, $3, $6::text::json FROM moved
"""


_LOST_CALL: Final = """
INSERT INTO model_calls (run_id, seq, node, visit, item, provider, model, at, duration_s, cost_usd, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""


async def _locked(connection: Connection, run_id: UUID) -> asyncpg.Record:
    run = await connection.fetchrow(_LOCK, run_id)
    if run is None:
        raise UnknownRun(str(run_id))
    return run


def _held(run: asyncpg.Record, **changes: Any) -> Held:
    names = ("status", "attempt", "max_attempts", "cancel_requested", "lease_until", "wake_at", "deadline", "timeout_s")
    return Held(**{**{name: run[name] for name in names}, **changes})


_TYPES: Final[dict[Move, str]] = {
    "hand_back": "run.queued",
    "wake": "run.queued",
    "retry": "run.queued",
    "cancel": "run.cancelled",
    "fail": "run.failed",
}


async def _move(connection: Connection, run: asyncpg.Record, due: Due) -> Moved | None:
    """Takes the claim away, and writes what happened. None if the run's executor is alive after all."""
    run_id, status = run["id"], after(due.move, run["status"], run["id"])
    force = due.reason in ("run_timeout", "released")
    seq = await connection.fetchval(_TAKE_OVER, run_id, force, run["epoch"] + 1)
    if seq is None:
        if run["status"] == "running":
            return None
        seq = run["last_seq"] + 1  # never claimed
    lost = await _tell_lost_calls(connection, run, seq) if due.move in ("fail", "cancel") else ()
    seq += len(lost)
    entry = Entry(seq, run["at"], _TYPES[due.move], _told(run, due))
    error = failure_data(due.error) if due.error else None
    text = packed([*lost, entry])
    again = due.move == "retry"
    await connection.execute(_MOVE, run_id, status, seq, run["epoch"] + 1, error, text, again)
    return Moved(run_id, run["workflow"], status, entry, lost)


async def _tell_lost_calls(connection: Connection, run: asyncpg.Record, seq: int) -> tuple[Entry, ...]:
    """Of a run that is ended without its executor: into the ledger, and as its last events, from `seq` on."""
    if run["started_at"] is None:
        return ()
    opened, at = OpenCalls(), run["at"]
    told = "SELECT seq, entries FROM events WHERE run_id = $1 ORDER BY seq"
    # Few at a time: one may be of a megabyte.
    async for row in connection.cursor(told, run["id"], prefetch=16):
        for entry in unpacked(row["seq"], row["entries"]):
            opened.hear(entry)
            # What an executor did after its last word, nobody knows.
            at = entry.at
    if not opened:
        return ()
    document = await connection.fetchval("SELECT document FROM definitions WHERE id = $1", run["definition"])
    loaded = await asyncio.to_thread(load_text, document, f"{run['workflow']}.yaml")
    lost = opened.lost(loaded.workflow)
    for number, call in enumerate(lost, seq):
        step, code = call.step, call.error.code if call.error is not None else None
        item = -1 if step.item is None else step.item
        made_by = step.node, step.visit, item, call.provider, call.model
        await connection.execute(_LOST_CALL, run["id"], number, *made_by, at, call.duration_s, call.cost_usd, code)
    return tuple(Entry(number, at, *encoded(call)) for number, call in enumerate(lost, seq))


def _told(run: asyncpg.Record, due: Due) -> dict[str, Any]:
    told: dict[str, Any] = {"reason": due.reason}
    if due.move == "hand_back":
        told["attempt"] = run["attempt"]
    if due.error is not None:
        told["error"] = failure_data(due.error)
    if due.move in ("fail", "cancel") and run["started_at"] is not None:
        told["duration_s"] = round((run["at"] - run["started_at"]).total_seconds(), 6)
    return told
