"""What any executor does for all runs: find those that nobody looks after, measure the queue, delete what is old."""

from __future__ import annotations

import asyncio
import logging
import random

from flowyard.bus.messages import RunControl, RunEvents, WorkQueued
from flowyard.errors import Unavailable
from flowyard.runs.entries import decode_all
from flowyard.runs.events import ModelCalled
from flowyard.runs.run import OPEN, Entry
from flowyard.runs.timeline import LOST
from flowyard.storage.moves import Moved
from flowyard.storage.retention import BATCH
from flowyard_executor.execute import count_call
from flowyard_executor.parts import Parts

log = logging.getLogger(__name__)

DAY_S = 86_400


async def sweep(parts: Parts) -> None:
    """Runs whose lease or time is over, whoever had them."""
    while True:
        # Not all executors at once.
        await asyncio.sleep(parts.settings.sweep_s * random.uniform(0.75, 1.25))  # noqa: S311  # no secret
        try:
            for moved in await parts.moves.sweep():
                _tell(moved, parts)
        except Unavailable:
            log.warning("can't sweep: Postgres is away")


async def take_up(parts: Parts) -> None:
    """The runs that an executor of our name had when it died: it isn't worth waiting for their leases."""
    for run_id in await parts.claims.claimed_by(parts.settings.executor_name):
        moved = await parts.moves.release(run_id, parts.settings.executor_name)
        if moved is not None:
            _tell(moved, parts)


def _tell(moved: Moved, parts: Parts) -> None:
    if moved.entry is None:
        return
    if is_of_the_dead(moved.entry):
        parts.metrics.executor.leases_expired.inc()
    for lost in decode_all(moved.lost):
        if isinstance(lost.event, ModelCalled):
            count_call(lost.event, parts.metrics.models)
    log.info("run %s", moved.entry.type.removeprefix("run."), extra=_about(moved))
    # Whoever thought that it had the run need not wait for its next renewal.
    parts.bus.publish(RunEvents(run_id=moved.run_id, epoch=0, entries=(*moved.lost, moved.entry)))
    if moved.status == "queued":
        parts.bus.publish(WorkQueued(workflow=moved.workflow, priority=0))
    elif moved.status not in OPEN:
        parts.bus.publish(RunControl(run_id=moved.run_id, action="cancel"))
        parts.metrics.runs.finished.labels(moved.workflow, moved.status).inc()
        if (error := moved.entry.data.get("error")) is not None:
            parts.metrics.runs.failures.labels(moved.workflow, error["code"]).inc()


def is_of_the_dead(entry: Entry) -> bool:
    """Whether a run was moved for want of its executor. One that has waited long enough comes back, too."""
    return entry.data.get("reason") in LOST


def _about(moved: Moved) -> dict[str, str]:
    reason = str(moved.entry.data.get("reason", "")) if moved.entry else ""
    return {"run_id": str(moved.run_id), "workflow": moved.workflow, "reason": reason}


async def measure(parts: Parts, *, every_s: float = 5.0) -> None:
    """The gauges of the queue, and of what this process waits for."""
    while True:
        parts.metrics.commits.waiting.set(parts.committer.waiting)
        try:
            for status, depth in (await parts.queue.depths()).items():
                parts.metrics.runs.depth.labels(status).set(depth)
            parts.metrics.runs.oldest_queued.set(await parts.queue.oldest_queued_s())
            parts.metrics.runs.orphaned.set(await parts.queue.orphaned())
        except Unavailable:
            log.debug("can't measure the queue: Postgres is away")
        await asyncio.sleep(every_s)


async def forget(parts: Parts) -> None:
    """Retention: in small batches, until nothing is left that is old."""
    older_than_s = parts.settings.retention_days * DAY_S
    while True:
        try:
            await _forget_all(parts, older_than_s)
        except Unavailable:
            log.warning("can't delete old runs: Postgres is away")
        await asyncio.sleep(parts.settings.retention_every_s)


async def _forget_all(parts: Parts, older_than_s: float) -> None:
    while True:
        deleted = await parts.retention.delete_runs(older_than_s=older_than_s)
        for kind, rows in deleted.items():
            parts.metrics.runs.deleted.labels(kind).inc(rows)
        if deleted.get("runs", 0) < BATCH:
            break
        await asyncio.sleep(0.05)
    parts.metrics.runs.deleted.labels("definitions").inc(
        await parts.retention.delete_definitions(older_than_s=max(older_than_s, 3600))
    )
    parts.metrics.runs.deleted.labels("sessions").inc(await parts.retention.delete_sessions())
    parts.metrics.runs.deleted.labels("days").inc(await parts.retention.delete_days(older_than_s=2 * DAY_S))
