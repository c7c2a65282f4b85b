"""An executor whose release replays runs differently from the one that recorded them doesn't fail them all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from uuid import UUID

import httpx
import pytest

from flowyard.runs.run import Step
from flowyard_executor import mismatches
from flowyard_executor.main import executor_app
from support.attempts import WireModel, held
from support.executors import Yard
from support.in_process import InProcess, executing
from support.stories import CHAIN
from support.waiting import eventually

SKIPPING = CHAIN.replace("outputs: [", "on_error: continue, outputs: [")


async def begun(yard: Yard, wire: WireModel, count: int) -> list[UUID]:
    """Runs that lost their executor in their second step. What they did next isn't what this release would do."""
    name = await yard.apply(SKIPPING)
    runs = [await yard.submit(name, topic=str(number)) for number in range(count)]
    wire.hold.add("second")
    async with executing(yard):
        for run_id in runs:
            await yard.recorded(run_id, "step.started", "second")
    wire.hold.clear()
    await yard.database.execute("""UPDATE steps SET next = '["third"]' WHERE node = 'first'""")
    return runs


async def record(yard: Yard, run_id: UUID) -> list[Step]:
    return [step for step in await yard.history.record(run_id) if step.has_ended]


async def readiness(executor: InProcess) -> tuple[int, dict[str, str]]:
    """The status, and the failed checks."""
    transport = httpx.ASGITransport(app=executor_app(executor.parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://executor") as client:
        answer = await client.get("/health/ready")
    return answer.status_code, {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}


async def test_after_three_mismatches_runs_with_recorded_steps_are_left_to_others(
    yard: Yard, wire: WireModel, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = await begun(yard, wire, 5)
    records = {run_id: await record(yard, run_id) for run_id in spoilt}
    calls = wire.calls.total()
    going_on = asyncio.Event()
    wire.answers["first"] = held(going_on)
    earlier = await yard.submit("chain", topic="rain")
    async with executing(yard, slots=2, poll_s=0.1) as one:
        await yard.recorded(earlier, "step.started", "first")
        await eventually(lambda: one.count("replay_mismatches_total") == 3)
        del wire.answers["first"]
        new = await yard.submit("chain", topic="snow")
        assert (await yard.ended(new)).status == "succeeded"
        status, failed = await readiness(one)
        assert (status, set(failed)) == (503, {"replays"})
        assert "restart it with the release that recorded the runs" in failed["replays"]
        # It goes on with what it has.
        going_on.set()
        assert (await yard.ended(earlier)).status == "succeeded"
    runs = [await yard.runs.get(run_id) for run_id in spoilt]
    assert sorted(run.status for run in runs) == ["failed"] * 3 + ["queued"] * 2
    assert {run.error.code for run in runs if run.error is not None} == {"replay_mismatch"}
    assert wire.calls.total() == calls + 6
    assert {run_id: await record(yard, run_id) for run_id in spoilt} == records
    lines = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert [line.message for line in lines] == [failed["replays"]]

    await yard.database.execute("""UPDATE steps SET next = '["second"]' WHERE node = 'first'""")
    for run in runs:
        if run.status == "failed":
            await yard.moves.retry(run.id)
    async with executing(yard) as again:
        assert {(await yard.ended(run_id)).status for run_id in spoilt} == {"succeeded"}
        assert (await readiness(again))[0] == 200
    assert wire.calls["first"] == 7


async def test_runs_that_are_claimed_already_are_handed_back_after_three_mismatches(
    yard: Yard, wire: WireModel
) -> None:
    spoilt = await begun(yard, wire, 8)
    async with executing(yard, slots=8) as one:
        await eventually(lambda: one.count("runs_claimed_total") == 8 and not one.parts.running)
    states = Counter([(await yard.runs.get(run_id)).status for run_id in spoilt])
    # Two are replayed at a time.
    assert states["failed"] in (3, 4)
    assert states["failed"] + states["queued"] == 8


async def test_mismatches_that_are_far_apart_change_nothing(
    yard: Yard, wire: WireModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mismatches, "WITHIN_S", 0.0)
    spoilt = await begun(yard, wire, 4)
    async with executing(yard, slots=1) as one:
        assert [(await yard.ended(run_id)).status for run_id in spoilt] == ["failed"] * 4
        assert (await readiness(one))[0] == 200
