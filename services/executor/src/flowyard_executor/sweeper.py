"""Each executor's work for all runs: moves runs that lost their executor, measures the queue, deletes old runs."""

from __future__ import annotations

import asyncio
import logging
import random

from flowyard.control.announce import announce
from flowyard.errors.services import Unavailable
from flowyard.runs.run import Entry
from flowyard.runs.timeline import LOST
from flowyard.storage.moves import Moved
from flowyard.storage.retention import BATCH
from flowyard_executor.parts import ExecutorParts

log = logging.getLogger(__name__)

DAY_S = 86_400
_ROOM_AFTER_S = 1.0
_MAKES_ROOM = 0.5
"""The probability with which an executor makes room at a sweep: one of them is enough."""


async def sweep(parts: ExecutorParts) -> None:
    """Moves runs of any executor whose lease or deadline has passed, and those whose time to wait is over."""
    while True:
        # Not all executors at once.
        await asyncio.sleep(parts.settings.sweep_s * random.uniform(0.75, 1.25))  # noqa: S311  # no secret
        try:
            for moved in await parts.moves.sweep():
                _announce(moved, parts)
            await _make_room(parts)
        except Unavailable:
            log.warning("can't sweep: Postgres is unreachable")


async def _make_room(parts: ExecutorParts) -> None:
    """Some executors make room, if there is a run that has to be executed alone, and no executor has been free.

    One such run doesn't make room for another: each would be handed back before it has come far.
    """
    if parts.load.is_idle or parts.load.executes_suspect:
        return
    waits = await parts.queue.waits_for_room(longer_than_s=_ROOM_AFTER_S)
    if waits and random.random() < _MAKES_ROOM:  # noqa: S311  # no secret
        parts.load.make_room()


async def release_own_runs(parts: ExecutorParts) -> None:
    """Puts runs back into the queue that this executor had before it died: no need to wait for their leases."""
    for run_id in await parts.claims.claimed_by(parts.settings.executor_name):
        moved = await parts.moves.release(run_id, parts.settings.executor_name)
        if moved is not None:
            _announce(moved, parts)


def _announce(moved: Moved, parts: ExecutorParts) -> None:
    announce(moved, parts.bus, parts.metrics)
    if moved.entry is None:
        return
    if lost_its_executor(moved.entry):
        parts.metrics.executor.leases_expired.inc()
    reason = str(moved.entry.data.get("reason", ""))
    facts = {"run_id": str(moved.run_id), "workflow": moved.workflow, "reason": reason}
    log.info("run %s", moved.entry.type.removeprefix("run."), extra=facts)


def lost_its_executor(entry: Entry) -> bool:
    """Whether a run was moved because its executor is gone. A run that has waited long enough is moved, too."""
    return entry.data.get("reason") in LOST


async def measure(parts: ExecutorParts, *, every_s: float = 5.0) -> None:
    """Sets the gauges of the queue, of all executors, and of this process's commits."""
    while True:
        parts.metrics.commits.waiting.set(parts.committer.waiting)
        try:
            for status, depth in (await parts.queue.depths()).items():
                parts.metrics.runs.depth.labels(status).set(depth)
            parts.metrics.runs.oldest_queued.set(await parts.queue.oldest_queued_s())
            parts.metrics.runs.orphaned.set(await parts.queue.orphaned())
            parts.metrics.runs.show_silent(await parts.agents.silent_executors())
        except Unavailable:
            log.debug("can't measure the queue: Postgres is unreachable")
            parts.metrics.runs.forget_queue()
        await asyncio.sleep(every_s)


async def delete_old_runs(parts: ExecutorParts) -> None:
    """Retention, in small batches, until no old run is left; again after a while."""
    older_than_s = parts.settings.retention_days * DAY_S
    while True:
        try:
            await _delete_all(parts, older_than_s)
        except Unavailable:
            log.warning("can't delete old runs: Postgres is unreachable")
        await asyncio.sleep(parts.settings.retention_every_s)


async def _delete_all(parts: ExecutorParts, older_than_s: float) -> None:
    batch = BATCH
    while True:
        try:
            deleted = await parts.retention.delete_runs(older_than_s=older_than_s, most=batch)
        except Unavailable:
            # Runs of thousands of steps may take too long together.
            if batch == 1:
                raise
            batch = max(1, batch // 8)
            continue
        for kind, rows in deleted.items():
            parts.metrics.runs.deleted.labels(kind).inc(rows)
        if deleted.get("runs", 0) < batch:
            break
        await asyncio.sleep(0.05)
    deleted_now = BATCH
    while deleted_now == BATCH:
        deleted_now = await parts.retention.delete_deliveries(older_than_s=older_than_s, most=BATCH)
        parts.metrics.runs.deleted.labels("deliveries").inc(deleted_now)
        await asyncio.sleep(0.05)
    parts.metrics.runs.deleted.labels("receivers").inc(
        await parts.retention.delete_receivers(older_than_s=max(older_than_s, 3600))
    )
    parts.metrics.runs.deleted.labels("chats").inc(
        await parts.retention.delete_chats(older_than_s=max(older_than_s, 3600))
    )
    parts.metrics.runs.deleted.labels("definitions").inc(
        await parts.retention.delete_definitions(older_than_s=max(older_than_s, 3600))
    )
    parts.metrics.runs.deleted.labels("acts").inc(await parts.retention.delete_acts(days=parts.settings.audit_days))
    parts.metrics.runs.deleted.labels("sessions").inc(await parts.retention.delete_sessions())
    parts.metrics.runs.deleted.labels("days").inc(await parts.retention.delete_days(older_than_s=2 * DAY_S))
