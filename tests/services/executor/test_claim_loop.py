"""From a claim to the end of its attempt, and the slot that it takes meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowyard.bus.messages import RunControl, WorkQueued
from flowyard.control.announce import announce
from flowyard.errors.services import Unavailable
from flowyard.runs.claim import Claim
from flowyard.steps.budget_gate import DailyLimit
from flowyard.storage.claims import Claims
from flowyard_executor.parts import ExecutorParts
from support.attempts import Answer, WireModel, held, node_of
from support.executors import Yard
from support.in_process import executing
from support.stories import CHAIN
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status
from support.wire.server import Request


def broken_for_one(parts: ExecutorParts) -> ExecutorParts:
    """The budget of one workflow can't be read, for a reason that nobody foresaw."""

    def daily_limit(workflow: str) -> DailyLimit | None:
        if workflow == "broken":
            raise RuntimeError("nobody foresaw this")
        return None

    return replace(parts, attempt=replace(parts.attempt, daily_limit=daily_limit))


async def test_a_bug_fails_its_run_and_no_other(yard: Yard, wire: WireModel, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = await yard.apply(CHAIN), await yard.apply(CHAIN.replace("name: chain", "name: broken"))
    async with executing(yard, change=broken_for_one, poll_s=0.05, slots=1) as one:
        failed = await yard.ended(await yard.submit(bad, topic="rain"))
        assert (await yard.ended(await yard.submit(good, topic="rain"))).status == "succeeded"
        await eventually(lambda: not one.parts.running)
        assert one.count("run_failures_total", workflow="broken", code="internal_error") == 1
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "internal_error")
    assert "nobody foresaw" not in failed.error.message
    [line] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (line.message, line.exc_info is not None) == ("a run failed: a bug", True)


async def test_an_executor_has_no_more_runs_than_slots_and_fills_each_that_is_free(yard: Yard, wire: WireModel) -> None:
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic=str(number)) for number in range(6)]
    async with executing(yard, slots=2) as one:
        most = 0

        async def answer(request: Request) -> str:
            nonlocal most
            most = max(most, len(one.parts.running))
            return node_of(request)

        wire.answers = dict.fromkeys(("first", "second", "third"), answer)
        # Nothing rings after the start but the end of each run.
        assert [(await yard.ended(run_id)).status for run_id in runs] == ["succeeded"] * 6
        await eventually(lambda: not one.parts.running)
        assert (one.count("executor_slots"), one.count("executor_slots_used")) == (2, 0)
    assert most == 2


async def test_the_end_of_a_run_claims_nothing_unless_it_makes_room_for_another(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard) as one:
        await yard.ended(run_id)
        await eventually(lambda: not one.parts.running)
        claims = one.count("claim_statement_seconds_count")
        run_id = await yard.submit(await yard.apply(CHAIN), topic="snow")
        one.parts.bus.publish(WorkQueued())
        await yard.ended(run_id)
        await eventually(lambda: not one.parts.running)
        await asyncio.sleep(0.1)  # in which another claim would be made
        assert one.count("claim_statement_seconds_count") == claims + 1


async def test_the_end_of_a_run_makes_room_for_another_of_a_workflow_with_a_limit(yard: Yard) -> None:
    name = await yard.apply(CHAIN + "  execution: {concurrency: 1}\n")
    runs = [await yard.submit(name, topic=str(number)) for number in range(3)]
    async with executing(yard):
        # Nothing rings after the start but the end of each run.
        assert [(await yard.ended(run_id)).status for run_id in runs] == ["succeeded"] * 3


async def test_a_claim_sets_the_clock_by_which_events_are_dated(yard: Yard) -> None:
    async with executing(yard, poll_s=0.1) as one:
        one.parts.clock.set(datetime.now(UTC) + timedelta(hours=1))
        run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
        await yard.ended(run_id)
    times = [entry.at for entry in await yard.entries(run_id)]
    assert times == sorted(times)
    assert times[-1] - times[0] < timedelta(minutes=1)


async def test_claiming_goes_on_after_postgres_was_away(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, change=away_at_first, poll_s=0.1):
        assert (await yard.ended(run_id)).status == "succeeded"


class AwayClaims(Claims):
    """Postgres is away when it is asked for the first time."""

    was_away = False

    async def take(self, executor: str, most: int, *, with_steps: bool = True, alone: bool = True) -> list[Claim]:
        if not self.was_away:
            self.was_away = True
            raise Unavailable("Postgres")
        return await super().take(executor, most, with_steps=with_steps, alone=alone)


def away_at_first(parts: ExecutorParts) -> ExecutorParts:
    return replace(parts, claims=AwayClaims(parts.database, lease_s=600))


async def test_a_long_wait_frees_the_slot_and_lasts_as_long_as_it_should(yard: Yard, wire: WireModel) -> None:
    times: list[float] = []
    wire.answers["second"] = failing_once(times)
    retrying = "second, retry: {max_retries: 1, initial_delay: 2}"
    name = await yard.apply(CHAIN.replace("{id: second", f"{{id: {retrying}"))
    run_id = await yard.submit(name, topic="rain")
    async with executing(yard, long_wait_s=0.5, sweep_s=0.1, slots=1) as one:

        async def is_waiting() -> bool:
            return (await yard.runs.get(run_id)).status == "waiting"

        await eventually(is_waiting)
        await eventually(lambda: not one.parts.running)
        run = await yard.ended(run_id)
    assert (run.status, run.attempt) == ("succeeded", 1)
    assert wire.calls == {"first": 1, "second": 2, "third": 1}
    [delay_s] = [entry.data["delay_s"] for entry in await yard.entries(run_id) if entry.type == "step.retrying"]
    assert times[1] - times[0] >= delay_s >= 1


async def test_a_short_wait_keeps_the_slot(yard: Yard, wire: WireModel) -> None:
    times: list[float] = []
    wire.answers["second"] = failing_once(times)
    retrying = "second, retry: {max_retries: 1, initial_delay: 0.4}"
    run_id = await yard.submit(await yard.apply(CHAIN.replace("{id: second", f"{{id: {retrying}")), topic="rain")
    async with executing(yard, long_wait_s=0.5):
        assert (await yard.ended(run_id)).status == "succeeded"
    assert "run.waiting" not in [entry.type for entry in await yard.entries(run_id)]
    assert times[1] - times[0] >= 0.2


async def test_a_cancellation_reaches_the_executor_by_a_message(yard: Yard, wire: WireModel) -> None:
    """No renewal comes within minutes."""
    wire.answers["second"] = held(asyncio.Event())
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard) as one:
        await yard.recorded(run_id, "step.started", "second")
        await eventually(lambda: one.parts.bus.connected)
        moved = await yard.moves.cancel(run_id)
        announce(moved, one.parts.bus, one.parts.metrics)
        run = await yard.ended(run_id)
    assert (run.status, run.outputs) == ("cancelled", {"one": "first"})


async def test_a_message_alone_cancels_nothing(yard: Yard, wire: WireModel) -> None:
    free = asyncio.Event()
    wire.answers["second"] = held(free)
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard) as one:
        await yard.recorded(run_id, "step.started", "second")
        await eventually(lambda: one.parts.bus.connected)
        one.parts.bus.publish(RunControl(run_id=run_id, action="cancel"))
        await asyncio.sleep(0.3)
        free.set()
        assert (await yard.ended(run_id)).status == "succeeded"


def failing_once(times: list[float]) -> Answer:
    """`times`: when each request came."""

    async def answer(request: Request) -> str | Behaviour:
        times.append(time.monotonic())
        return Status(500) if len(times) == 1 else node_of(request)

    return answer


async def test_no_executor_takes_all_runs_at_once_although_it_has_slots_for_them(yard: Yard, wire: WireModel) -> None:
    """Between two claims it works on what it has, so that another one gets its share."""
    free = asyncio.Event()
    wire.answers["first"] = held(free)
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic=str(number)) for number in range(100)]
    counts: list[int] = []

    class CountedClaims(Claims):
        async def take(self, executor: str, most: int, *, with_steps: bool = True, alone: bool = True) -> list[Claim]:
            claims = await super().take(executor, most, with_steps=with_steps, alone=alone)
            counts.append(len(claims))
            return claims

    def counted(parts: ExecutorParts) -> ExecutorParts:
        return replace(parts, claims=CountedClaims(parts.database, lease_s=600))

    async with executing(yard, change=counted, slots=512) as one:
        one.parts.bus.publish(WorkQueued())
        await eventually(lambda: len(one.parts.running) == len(runs))
        free.set()
        for run_id in runs:
            await yard.ended(run_id)
    assert max(counts) == 32
    assert sum(counts) == len(runs)
