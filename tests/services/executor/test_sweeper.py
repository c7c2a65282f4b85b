"""Runs whose executor is lost are moved, and everybody learns of it; old runs are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from flowyard.errors.services import Unavailable
from flowyard.runs.run import Entry
from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.retention import BATCH, Retention
from flowyard_executor.parts import ExecutorParts
from flowyard_executor.sweeper import lost_its_executor, measure
from support.attempts import WireModel
from support.executors import Yard
from support.in_process import executing
from support.stories import CHAIN
from support.waiting import eventually


@pytest.mark.parametrize(
    ("kind", "reason", "expected"),
    [
        ("run.queued", "executor_lost", True),
        ("run.queued", "released", True),
        ("run.failed", "executor_lost", True),
        ("run.queued", "woken", False),
        ("run.failed", "run_timeout", False),
        ("run.cancelled", "cancelled", False),
    ],
)
def test_executors_are_said_to_die_only_where_they_do(kind: str, reason: str, *, expected: bool) -> None:
    assert lost_its_executor(Entry(3, datetime(2026, 1, 1, tzinfo=UTC), kind, {"reason": reason})) is expected


async def test_an_executor_that_was_frozen_learns_at_once_that_its_run_has_been_ended(
    yard: Yard, wire: WireModel
) -> None:
    """No renewal of its own comes within minutes."""
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain", max_attempts=1)
    async with executing(yard, "frozen") as frozen:
        await yard.recorded(run_id, "step.started", "second")
        await eventually(lambda: frozen.parts.bus.connected)
        attempt = frozen.attempt
        await yard.expire(run_id)
        async with executing(yard, "other", sweep_s=0.1) as other:
            await eventually(lambda: attempt.task is not None and attempt.task.done())
            assert other.count("leases_expired_total") == 1
            assert other.count("runs_finished_total", workflow="chain", status="failed") == 1
            assert frozen.count("runs_finished_total", workflow="chain", status="failed") == 0
    run = await yard.runs.get(run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "executor_lost")


async def test_a_run_that_is_swept_into_the_queue_is_executed_at_once_by_others(yard: Yard, wire: WireModel) -> None:
    """Nobody polls the queue within a minute."""
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, "dying") as dying:
        await yard.recorded(run_id, "step.started", "second")
        await dying.kill()
    wire.hold.clear()
    async with executing(yard, "other", sweep_s=0.1):
        await yard.expire(run_id)
        run = await yard.ended(run_id)
    assert (run.status, run.attempt, wire.calls["first"]) == ("succeeded", 2, 1)


async def test_an_executor_that_starts_again_goes_on_with_its_runs_at_once(yard: Yard, wire: WireModel) -> None:
    """Their leases last for minutes."""
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, "one") as one:
        await yard.recorded(run_id, "step.started", "second")
        await one.kill()
    wire.hold.clear()
    async with executing(yard, "one") as again:
        run = await yard.ended(run_id)
        assert again.count("leases_expired_total") == 1
    assert (run.status, run.attempt, wire.calls["first"]) == ("succeeded", 2, 1)


async def test_all_old_runs_are_deleted_however_many_there_are(yard: Yard) -> None:
    """And no others. The next time is an hour later."""
    kept = await old_run(yard)
    await old_run(yard)
    await yard.database.execute(
        "INSERT INTO runs (id, definition, revision, last_seq, priority, max_attempts, workflow, status, inputs,"
        " created_at, finished_at) SELECT gen_random_uuid(), definition, revision, 1, 0, 3, workflow, 'cancelled',"
        " inputs, created_at, created_at FROM runs CROSS JOIN generate_series(1, $1) WHERE id <> $2",
        2 * BATCH,
        kept,
    )
    await yard.database.execute("UPDATE runs SET finished_at = now() - interval '29 days' WHERE id = $1", kept)
    async with executing(yard, retention_days=30, retention_every_s=3600) as one:

        async def is_deleted() -> bool:
            return [row["id"] for row in await yard.database.rows("SELECT id FROM runs LIMIT 2")] == [kept]

        await eventually(is_deleted)
        await eventually(lambda: one.count("retention_deleted_rows_total", kind="runs") == 2 * BATCH + 1)


async def test_deletions_go_on_after_postgres_was_away(yard: Yard) -> None:
    await old_run(yard)
    async with executing(yard, change=away_at_first, retention_every_s=0.1):

        async def is_deleted() -> bool:
            return not await yard.database.rows("SELECT id FROM runs")

        await eventually(is_deleted)


class AwayRetention(Retention):
    """Postgres is away until a single run was to be deleted."""

    was_away = False

    async def delete_runs(self, *, older_than_s: float, most: int = BATCH) -> Mapping[str, int]:
        if not self.was_away:
            self.was_away = most == 1
            raise Unavailable("Postgres")
        return await super().delete_runs(older_than_s=older_than_s, most=most)


def away_at_first(parts: ExecutorParts) -> ExecutorParts:
    return replace(parts, retention=AwayRetention(parts.database))


async def old_run(yard: Yard) -> UUID:
    """Cancelled 31 days ago."""
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    await yard.moves.cancel(run_id)
    await yard.database.execute(
        "UPDATE runs SET created_at = now() - interval '31 days', finished_at = now() - interval '31 days'"
        " WHERE id = $1",
        run_id,
    )
    return run_id


async def test_an_executor_that_ended_without_deregistering_is_seen_by_the_others(yard: Yard) -> None:
    two = NewAgent("two", "two", "executor", "1", "box")
    agents = Agents(yard.database)
    await agents.register(two)
    await yard.database.execute("UPDATE agents SET heartbeat_at = now() - interval '11 s'")
    async with executing(yard) as one:
        await eventually(lambda: one.count("executor_silent", name="two") == 1)
        assert one.parts.metrics.value("flowyard_executor_silent", name="one") is None
        await agents.register(two)
        measuring = asyncio.create_task(measure(one.parts, every_s=0.05))
        await eventually(lambda: one.parts.metrics.value("flowyard_executor_silent", name="two") is None)
        measuring.cancel()
