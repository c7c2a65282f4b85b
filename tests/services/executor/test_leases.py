"""Leases are renewed in time, and only the claim that was lost is given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from flowyard.storage.claims import Claims, Renewed
from flowyard.storage.commits import CommitResult, Committer, RunCommit
from flowyard.storage.database import Database
from flowyard_executor.claim_loop import _renew
from flowyard_executor.parts import ExecutorParts
from support.attempts import WireModel, held
from support.executors import Yard
from support.in_process import InProcess, executing
from support.stories import CHAIN
from support.waiting import eventually
from support.wire.behaviour import Behaviour
from support.wire.server import Request

LEASE_S = 1.5


class SlowClaims(Claims):
    """Holds renewals before they get to the database, until the test lets them go on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lease_s=600)
        self.renewing, self.may_renew = asyncio.Event(), asyncio.Event()

    async def renew(self, claims: Mapping[UUID, int], *, seen: str | None = None) -> Renewed:
        self.renewing.set()
        await self.may_renew.wait()
        return await super().renew(claims, seen=seen)


class SlowCommitter(Committer):
    """Holds the answer to a hand-back until the test lets it go on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lease_s=600)
        self.handed_back, self.may_end = asyncio.Event(), asyncio.Event()

    async def commit(self, commit: RunCommit) -> CommitResult:
        result = await super().commit(commit)
        if commit.status == "queued":
            self.handed_back.set()
            await self.may_end.wait()
        return result


def slow(parts: ExecutorParts) -> ExecutorParts:
    committer = SlowCommitter(parts.database)
    attempt = replace(parts.attempt, committer=committer)
    return replace(parts, claims=SlowClaims(parts.database), committer=committer, attempt=attempt)


def claims_of(executor: InProcess) -> SlowClaims:
    assert isinstance(executor.parts.claims, SlowClaims)
    return executor.parts.claims


def committer_of(executor: InProcess) -> SlowCommitter:
    assert isinstance(executor.parts.committer, SlowCommitter)
    return executor.parts.committer


async def test_a_run_that_takes_longer_than_its_lease_stays_with_its_executor(yard: Yard, wire: WireModel) -> None:
    go = asyncio.Event()
    wire.answers["second"] = held(go)
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, "one", lease_s=LEASE_S), executing(yard, "other", lease_s=LEASE_S, sweep_s=0.05):
        await eventually(lambda: wire.calls["second"])
        await asyncio.sleep(2 * LEASE_S)  # nothing is committed, so only renewals keep the claim
        go.set()
        run = await yard.ended(run_id)
    assert (run.status, run.attempt) == ("succeeded", 1)
    assert set(wire.calls.values()) == {1}


async def test_a_claim_that_was_lost_is_given_up_at_the_next_renewal(yard: Yard, wire: WireModel) -> None:
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, lease_s=LEASE_S, slots=1) as one:
        await yard.recorded(run_id, "step.started", "second")
        lost = one.attempt
        # As if others had ended it, and their message had got lost.
        await yard.database.execute("UPDATE claims SET executor = NULL, epoch = epoch + 1 WHERE run_id = $1", run_id)
        await eventually(lambda: not one.parts.running)
        assert lost.task is not None
        assert lost.task.done()
        assert one.count("leases_lost_total") == 1


async def test_a_run_that_was_cancelled_without_a_message_is_stopped_at_the_next_renewal(
    yard: Yard, wire: WireModel
) -> None:
    wire.hold.add("second")
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, lease_s=LEASE_S):
        await yard.recorded(run_id, "step.started", "second")
        await yard.moves.cancel(run_id)
        run = await yard.ended(run_id)
    assert (run.status, run.outputs) == ("cancelled", {"one": "first"})


async def test_a_renewal_sets_the_clock(yard: Yard, wire: WireModel) -> None:
    wire.hold.add("second")
    await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, lease_s=LEASE_S) as one:
        await wire.holding.wait()
        one.parts.clock.set(datetime.now(UTC) + timedelta(hours=1))
        await eventually(lambda: one.parts.clock.now() < datetime.now(UTC) + timedelta(minutes=1))


async def test_a_renewal_of_an_old_claim_does_not_end_the_new_one_of_the_same_executor(
    yard: Yard, wire: WireModel
) -> None:
    late, go = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        return await held(late if wire.calls["second"] == 1 else go)(request)

    wire.answers["second"] = answer
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, change=slow, poll_s=0.05) as one:
        await yard.recorded(run_id, "step.started", "second")
        claims, old = claims_of(one), one.attempt
        renewing = asyncio.create_task(_renew(one.parts))
        await claims.renewing.wait()
        await yard.expire(run_id)
        await yard.moves.sweep()
        await eventually(lambda: wire.calls["second"] == 2)
        new = one.attempt
        assert new.claim.epoch > old.claim.epoch
        claims.may_renew.set()
        await renewing
        late.set()
        await eventually(lambda: old.task is not None and old.task.done())
        assert one.attempt is new
        go.set()
        run = await yard.ended(run_id)
        assert (run.status, run.attempt) == ("succeeded", 2)
        assert one.count("leases_lost_total") == 0


async def test_a_claim_that_is_just_handed_back_is_not_taken_for_a_lost_one(
    yard: Yard, wire: WireModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a renewal nor the end of the drain stops what is ending by itself."""
    caplog.set_level(logging.INFO)
    go = asyncio.Event()
    wire.answers["second"] = held(go)
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard, change=slow, drain_s=0.2) as one:
        await eventually(lambda: wire.calls["second"])
        committer, attempt = committer_of(one), one.attempt
        claims_of(one).may_renew.set()
        ending = asyncio.create_task(one.drain())
        go.set()
        await committer.handed_back.wait()
        await _renew(one.parts)
        attempt.stop("drained")
        committer.may_end.set()
        await ending
        assert one.count("leases_lost_total") == 0
    assert "run handed back" in caplog.messages
    assert (await yard.runs.get(run_id)).status == "queued"
