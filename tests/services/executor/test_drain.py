"""An executor that drains leaves no run behind, and others go on with them at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from flowyard.bus.messages import WorkQueued
from flowyard.storage.commits import CommitResult, Committer, RunCommit
from flowyard_executor.parts import ExecutorParts
from support.attempts import WireModel, held
from support.executors import Yard
from support.in_process import InProcess, executing
from support.stories import CHAIN
from support.waiting import eventually


async def test_what_is_still_at_work_when_the_time_to_drain_is_over_is_stopped_and_handed_back(
    yard: Yard, wire: WireModel
) -> None:
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain", max_attempts=1)
    async with executing(yard, "leaving", drain_s=0.2) as leaving:
        await yard.recorded(run_id, "step.started", "second")
        await leaving.drain()
        run = await yard.runs.get(run_id)
        assert (run.status, run.attempt, run.executor) == ("queued", 0, None)
        assert (await yard.entries(run_id))[-1].data == {"reason": "drained"}
    wire.hold.clear()
    async with executing(yard, "staying"):
        assert (await yard.ended(run_id)).status == "succeeded"
    assert wire.calls == {"first": 1, "second": 2, "third": 1}


async def test_steps_have_the_time_to_drain_to_end(yard: Yard, wire: WireModel) -> None:
    go = asyncio.Event()
    wire.answers["second"] = held(go)
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, drain_s=30) as leaving:
        await eventually(lambda: wire.calls["second"])
        draining = asyncio.create_task(leaving.drain())
        await eventually(leaving.parts.draining.is_set)
        await asyncio.sleep(0.1)  # a step that isn't waited for would be stopped in this time
        go.set()
        await draining
    assert [step.node for step in await yard.history.steps(run_id)] == ["first", "second"]
    assert "third" not in wire.calls


async def test_an_executor_that_drains_claims_nothing_more(yard: Yard, wire: WireModel) -> None:
    go = asyncio.Event()
    wire.answers["first"] = held(go)
    name = await yard.apply(CHAIN)
    await yard.submit(name, topic="rain")
    async with executing(yard, slots=2) as leaving:
        await eventually(lambda: wire.calls["first"])
        late = await yard.submit(name, topic="snow")  # no bell rings for it
        go.set()
        await leaving.drain()
    assert (await yard.runs.get(late)).attempt == 0
    assert leaving.count("runs_claimed_total") == 1


class LostMeanwhile(Committer):
    """Others get the run at the last moment."""

    async def commit(self, commit: RunCommit) -> CommitResult:
        if commit.status == "queued":
            await self._database.execute("UPDATE claims SET epoch = epoch + 1 WHERE run_id = $1", commit.run_id)
        return await super().commit(commit)


def lost_meanwhile(parts: ExecutorParts) -> ExecutorParts:
    committer = LostMeanwhile(parts.database, lease_s=600)
    return replace(parts, committer=committer, attempt=replace(parts.attempt, committer=committer))


async def test_a_run_that_others_have_by_now_is_not_said_to_be_handed_back(
    yard: Yard, wire: WireModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, change=lost_meanwhile, drain_s=0) as leaving:
        await yard.recorded(run_id, "step.started", "second")
        await leaving.drain()
    assert "drained" in caplog.messages
    assert "run handed back" not in caplog.messages
    assert (await yard.runs.get(run_id)).status == "running"


async def test_a_run_that_was_handed_back_rings_the_doorbell_of_the_others(yard: Yard, wire: WireModel) -> None:
    """Nobody polls the queue within a minute, and `ended` waits for half a minute."""
    go = asyncio.Event()
    wire.answers["second"] = held(go)
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, "leaving") as leaving:
        await eventually(lambda: wire.calls["second"])
        async with executing(yard, "staying") as staying:
            await is_rung(staying, by=leaving)
            draining = asyncio.create_task(leaving.drain())
            await eventually(leaving.parts.draining.is_set)
            go.set()
            assert (await yard.ended(run_id)).status == "succeeded"
            await draining
    assert wire.calls == {"first": 1, "second": 1, "third": 1}


async def is_rung(executor: InProcess, *, by: InProcess) -> None:
    """Returns when a message of another executor has made it look for runs."""
    await eventually(lambda: executor.parts.bus.connected and by.parts.bus.connected)

    def looks() -> float:
        return executor.count("claim_statement_seconds_count")

    before = looks()
    by.parts.bus.publish(WorkQueued())
    await eventually(lambda: looks() > before)
