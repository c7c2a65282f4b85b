from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from flowyard.errors.requests import IllegalMove, UnknownRun, UnknownWorkflow
from flowyard.errors.runs import ClaimLost
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import ENDINGS, decode_all
from flowyard.runs.entries import stored as stored_event
from flowyard.runs.events import ModelCalled, RunFinished, StepId, StepStarted
from flowyard.runs.recovery import GRACE, Due
from flowyard.runs.run import OPEN, STEP_STATUSES
from flowyard.storage.commits import RunCommit
from flowyard.storage.moves import _locked, _move
from flowyard.storage.packing import packed
from support.queued import new_id
from support.rows import call_row, step_row
from support.stored import LONG_AGO, Stored, commit_of, ending, open_stored
from support.waiting import eventually

STARTED = StepStarted(StepId("a", 1), provider="openai", model="m")
OPEN_CALL: dict[str, Any] = {
    "status": "reserved",
    "tokens_in": None,
    "tokens_out": None,
    "duration_s": 0.0,
    "reserved_tokens": 90,
    "reserved_usd": Decimal("0.2"),
}


async def sleeping(stored: Stored, seconds: float = 60) -> Claim:
    claim = await stored.claimed()
    await stored.hand_back(claim, seconds)
    return claim


async def failed(stored: Stored, *, max_attempts: int = 3) -> Claim:
    claim = await stored.claimed(max_attempts=max_attempts)
    await stored.finish(claim, "failed")
    return claim


async def types(stored: Stored, claim: Claim) -> list[str]:
    entries = await stored.entries(claim.run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.type for entry in entries]


async def test_a_queued_run_is_cancelled_at_once(stored: Stored) -> None:
    run_id = await stored.run()
    moved = await stored.moves.cancel(run_id)
    assert (moved.status, moved.entry and moved.entry.type) == ("cancelled", "run.cancelled")
    assert await stored.claims.take("one", 1) == []
    assert (await stored.runs.get(run_id)).finished_at is not None


async def test_a_sleeping_run_is_cancelled_at_once(stored: Stored) -> None:
    claim = await sleeping(stored)
    assert (await stored.moves.cancel(claim.run_id)).status == "cancelled"
    assert await types(stored, claim) == ["run.queued", "run.waiting", "run.cancelled"]
    assert (await stored.counts())["claims"] == 0


async def test_a_running_run_is_left_to_its_executor(stored: Stored) -> None:
    claim = await stored.claimed()
    moved = await stored.moves.cancel(claim.run_id)
    assert (moved.status, moved.entry) == ("running", None)
    assert (await stored.runs.get(claim.run_id)).cancel_requested
    await stored.finish(claim, "cancelled")
    assert await types(stored, claim) == ["run.queued", "run.cancelled"]


@pytest.mark.parametrize("move", ["cancel", "sweep"])
async def test_calls_of_a_lost_executor_are_in_the_ledger_when_its_run_is_ended(stored: Stored, move: str) -> None:
    claim = await stored.claimed(max_attempts=1)
    begun = RunCommit(claim.run_id, claim.epoch, 2, entries=packed([stored_event(2, LONG_AGO, STARTED).entry]))
    begun.add_call(call_row(2, "a", model="m", **OPEN_CALL | {"status": "running"}))
    await stored.committer.commit(begun)
    await stored.expire(claim.run_id)
    await (stored.moves.cancel(claim.run_id) if move == "cancel" else stored.moves.sweep())
    ended_as = "run.cancelled" if move == "cancel" else "run.failed"
    await calls_are_lost(stored, claim, ended_as)
    [_, _, _, ended] = decode_all(await stored.entries(claim.run_id))
    assert isinstance(ended.event, RunFinished)
    assert ended.event.reason == ("cancelled" if move == "cancel" else "executor_lost")


async def calls_are_lost(stored: Stored, claim: Claim, moved_as: str) -> None:
    [call] = await stored.history.calls(claim.run_id)
    assert (call.provider, call.model, call.cost_usd, call.error) == ("openai", "m", None, "executor_lost")
    assert (call.status, call.seq) == ("lost", 3)
    assert await types(stored, claim) == ["run.queued", "step.started", "model.called", moved_as]
    assert (await stored.runs.get(claim.run_id)).last_seq == 4
    called = list(decode_all(await stored.entries(claim.run_id)))[2]
    assert isinstance(called.event, ModelCalled)


async def test_calls_of_a_lost_executor_are_in_the_ledger_when_its_run_is_queued_again(stored: Stored) -> None:
    claim = await stored.claimed()
    begun = RunCommit(claim.run_id, claim.epoch, 2, entries=packed([stored_event(2, LONG_AGO, STARTED).entry]))
    begun.spent_usd, begun.spent_tokens, begun.spent_calls = Decimal(1), 5, 1
    begun.add_call(call_row(2, "a", model="m", **OPEN_CALL))
    await stored.committer.commit(begun)
    await stored.expire(claim.run_id)
    await stored.moves.sweep()
    await calls_are_lost(stored, claim, "run.queued")
    [again] = await stored.claims.take("two", 1)
    assert (again.last_seq, again.spent) == (4, None)
    # What isn't known counts as it was reserved.
    assert await stored.history.spent(claim.run_id) == Amount(Decimal("0.2"), 90, 1)


@pytest.mark.parametrize("move", ["cancel", "sweep"])
async def test_calls_of_an_older_executor_are_found_in_its_events(stored: Stored, move: str) -> None:
    claim = await stored.claimed(max_attempts=1)
    await stored.database.execute("UPDATE runs SET engine = 0")
    started = stored_event(2, LONG_AGO, STARTED)
    await stored.committer.commit(RunCommit(claim.run_id, claim.epoch, 2, entries=packed([started.entry])))
    await stored.expire(claim.run_id)
    await (stored.moves.cancel(claim.run_id) if move == "cancel" else stored.moves.sweep())
    ended_as = "run.cancelled" if move == "cancel" else "run.failed"
    await calls_are_lost(stored, claim, ended_as)


async def test_to_cancel_works_when_the_owner_is_dead(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    assert (await stored.moves.cancel(claim.run_id)).status == "cancelled"
    with pytest.raises(ClaimLost):
        await stored.finish(claim)
    assert await types(stored, claim) == ["run.queued", "run.cancelled"]


async def test_a_run_that_should_be_cancelled_is_when_its_executor_dies(stored: Stored) -> None:
    claim = await stored.claimed(max_attempts=1)
    await stored.moves.cancel(claim.run_id)
    await stored.expire(claim.run_id)
    assert [moved.status for moved in await stored.moves.sweep()] == ["cancelled"]


async def test_a_run_that_is_handed_back_while_it_is_cancelled_does_not_run_again(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.moves.cancel(claim.run_id)
    await stored.hand_back(claim)
    assert [moved.status for moved in await stored.moves.sweep()] == ["cancelled"]


async def test_a_run_that_goes_to_sleep_while_it_is_cancelled_does_not_sleep_on(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.moves.cancel(claim.run_id)
    await stored.hand_back(claim, 600)
    assert [moved.status for moved in await stored.moves.sweep()] == ["cancelled"]


async def test_a_run_whose_workflow_is_gone_is_not_retried(stored: Stored) -> None:
    claim = await failed(stored, max_attempts=1)
    await stored.workflows.delete("test")
    with pytest.raises(UnknownWorkflow):
        await stored.moves.retry(claim.run_id)
    assert (await stored.runs.get(claim.run_id)).status == "failed"


async def test_a_failed_run_goes_on_when_it_is_retried(stored: Stored) -> None:
    claim = await failed(stored, max_attempts=1)
    moved = await stored.moves.retry(claim.run_id)
    assert (moved.status, moved.entry and moved.entry.data["reason"]) == ("queued", "retried")
    run = await stored.runs.get(claim.run_id)
    assert (run.status, run.error, run.outputs, run.finished_at) == ("queued", None, None, None)
    [again] = await stored.claims.take("one", 1)
    assert (again.attempt, again.last_seq, again.started_at) == (1, 3, claim.started_at)
    await stored.finish(again)
    assert await types(stored, claim) == ["run.queued", "run.failed", "run.queued", "run.succeeded"]


async def test_a_retry_has_the_whole_time_again(stored: Stored) -> None:
    claim = await stored.claimed(timeout_s=100.0)
    await stored.moves.cancel(claim.run_id)
    await stored.database.execute("UPDATE runs SET deadline = now() - interval '1 hour'")
    await stored.finish(claim, "failed")
    await stored.moves.retry(claim.run_id)
    [again] = await stored.claims.take("one", 1)
    assert again.left_s == pytest.approx(100.0, abs=1)
    assert not again.cancel_requested


async def test_a_run_whose_time_is_over_fails_though_its_executor_hangs(stored: Stored) -> None:
    claim = await stored.claimed(timeout_s=2.0)
    await stored.database.execute("UPDATE runs SET deadline = now() - interval '1 hour'")
    [moved] = await stored.moves.sweep()
    assert (moved.run_id, moved.status) == (claim.run_id, "failed")
    run = await stored.runs.get(claim.run_id)
    assert run.error is not None
    assert (run.error.code, run.error.message) == ("run_timeout", "the run took longer than its timeout of 2 s")
    with pytest.raises(ClaimLost):
        await stored.committer.commit(commit_of(claim))
    assert (await types(stored, claim))[-1] == "run.failed"


async def test_a_runs_own_executor_is_the_first_to_notice_that_its_time_is_over(stored: Stored) -> None:
    await stored.claimed(timeout_s=2.0)
    await stored.database.execute("UPDATE runs SET deadline = now() - interval '1 second'")
    assert await stored.moves.sweep() == []


# ---- steps that are at work


async def at_work(stored: Stored, **about: Any) -> Claim:
    """A run with a step in every state."""
    claim = await stored.claimed(**about)
    commit = commit_of(claim)
    for node in STEP_STATUSES:
        handled = "fail" if node == "failed" else None
        step = step_row(2, node, status=node, handled=handled, deadline=claim.at, wake_at=claim.at, outputs=None)
        commit.add_step(step)
    commit.add_step(step_row(2, "handled", status="failed", handled="continue", deadline=claim.at, outputs=None))
    commit.step_deadline = claim.at
    await stored.committer.commit(commit)
    return claim


async def statuses(stored: Stored, claim: Claim) -> dict[str, str]:
    return {step.node: step.status for step in await stored.history.steps(claim.run_id)}


async def test_a_run_is_taken_from_an_executor_that_does_not_end_a_step_whose_time_is_over(stored: Stored) -> None:
    """Its lease holds. It has a moment to end the step itself."""
    claim = await at_work(stored)
    late = "UPDATE claims SET step_deadline = now() - make_interval(secs => $1)"
    await stored.database.execute(late, GRACE.total_seconds() - 1)
    assert await stored.moves.sweep() == []
    await stored.database.execute(late, GRACE.total_seconds() + 1)
    [moved] = await stored.moves.sweep()
    assert (moved.status, moved.entry and moved.entry.data["reason"]) == ("queued", "executor_lost")
    assert await stored.database.value("SELECT step_deadline FROM claims") is None
    # Of both, so that none of its commits fits any more, nor whoever reads the run.
    epochs = await stored.database.row(
        "SELECT c.epoch AS claim, r.epoch AS run FROM claims c JOIN runs r ON r.id = run_id"
    )
    assert epochs is not None
    assert dict(epochs) == {"claim": claim.epoch + 1, "run": claim.epoch + 1}
    with pytest.raises(ClaimLost):
        await stored.committer.commit(commit_of(claim, seq=4))


async def test_what_was_at_work_under_a_lost_claim_is_interrupted_and_what_waited_waits_on(stored: Stored) -> None:
    claim = await at_work(stored)
    await stored.expire(claim.run_id)
    await stored.moves.sweep()
    expected: dict[str, str] = {name: name for name in STEP_STATUSES}
    expected |= {"running": "interrupted", "handled": "failed"}
    assert await statuses(stored, claim) == expected
    steps = {step.node: step for step in await stored.history.steps(claim.run_id)}
    assert steps["waiting"].wake_at == claim.at
    assert steps["running"].deadline == claim.at


async def test_what_was_open_when_others_end_a_run_is_interrupted(stored: Stored) -> None:
    claim = await at_work(stored, max_attempts=1)
    await stored.expire(claim.run_id)
    [moved] = await stored.moves.sweep()
    assert moved.status == "failed"
    after = await statuses(stored, claim)
    assert (after["running"], after["waiting"]) == ("interrupted", "interrupted")
    assert (after["succeeded"], after["failed"], after["handled"]) == ("succeeded", "failed", "failed")
    [waited] = [step for step in await stored.history.steps(claim.run_id) if step.node == "waiting"]
    assert waited.wake_at is None


async def test_a_retry_marks_what_failed_the_run_and_gives_new_time_to_what_is_executed_again(stored: Stored) -> None:
    claim = await at_work(stored, max_attempts=1)
    await stored.finish(claim, "failed", seq=3)
    before = {step.node: step for step in await stored.history.steps(claim.run_id)}
    await stored.moves.retry(claim.run_id)
    after = {step.node: step for step in await stored.history.steps(claim.run_id)}
    expected = dict.fromkeys(("running", "waiting", "retrying", "interrupted"), "interrupted")
    expected |= {"succeeded": "succeeded", "handled": "failed", "failed": "retrying"}
    assert {name: step.status for name, step in after.items()} == expected
    # The results of others stay as they are.
    assert {name: after[name] for name in ("succeeded", "handled")} == {n: before[n] for n in ("succeeded", "handled")}
    assert [step.node for step in after.values() if step.deadline is not None] == ["handled", "succeeded"]


async def test_the_time_of_a_run_goes_on_while_it_sleeps_or_is_queued(stored: Stored) -> None:
    asleep = await sleeping(stored)
    handed_back = await stored.claimed()
    await stored.hand_back(handed_back)
    await stored.database.execute("UPDATE runs SET deadline = now() - interval '1 hour'")
    moved = await stored.moves.sweep()
    assert {(one.run_id, one.status) for one in moved} == {(c.run_id, "failed") for c in (asleep, handed_back)}


async def test_a_run_that_nobody_knows_can_not_be_moved(stored: Stored) -> None:
    for move in (stored.moves.cancel, stored.moves.retry):
        with pytest.raises(UnknownRun):
            await move(new_id())


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
async def test_what_has_ended_can_not_be_cancelled(stored: Stored, status: str) -> None:
    claim = await stored.claimed()
    await stored.finish(claim, status)
    with pytest.raises(IllegalMove, match=f"is {status}: it can't be cancelled"):
        await stored.moves.cancel(claim.run_id)


@pytest.mark.parametrize("status", ["succeeded", "cancelled"])
async def test_only_a_failed_run_can_be_retried(stored: Stored, status: str) -> None:
    claim = await stored.claimed()
    with pytest.raises(IllegalMove, match="is running"):
        await stored.moves.retry(claim.run_id)
    await stored.finish(claim, status)
    with pytest.raises(IllegalMove, match=f"is {status}: it can't be retried"):
        await stored.moves.retry(claim.run_id)


async def test_a_run_whose_executor_renews_at_the_last_moment_is_left_to_it(stored: Stored) -> None:
    """A sweep has seen that its lease is over."""
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    async with stored.database.transaction() as connection:
        run = await _locked(connection, claim.run_id)
        await stored.claims.renew({claim.run_id: claim.epoch})
        assert await _move(connection, run, Due("hand_back", "executor_lost")) is None
    assert (await stored.runs.get(claim.run_id)).executor == "one"


async def test_a_run_whose_executor_commits_at_the_last_moment_is_left_to_it(stored: Stored) -> None:
    """The commit has locked the claim, and waits for the run, which a sweep has locked."""
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    async with stored.database.transaction() as connection:
        run = await _locked(connection, claim.run_id)
        committing = asyncio.create_task(stored.finish(claim))
        await eventually(lambda: _is_locked(stored, claim))
        assert await _move(connection, run, Due("hand_back", "executor_lost")) is None
    await committing
    assert await types(stored, claim) == ["run.queued", "run.succeeded"]


async def _is_locked(stored: Stored, claim: Claim) -> bool:
    statement = "SELECT 1 FROM claims WHERE run_id = $1 FOR UPDATE SKIP LOCKED"
    return await stored.database.value(statement, claim.run_id) is None


async def test_a_sweep_does_not_wait_for_a_run_that_is_being_moved(stored: Stored) -> None:
    busy, free = await stored.claimed(), await stored.claimed()
    for claim in (busy, free):
        await stored.expire(claim.run_id)
    async with stored.database.transaction() as connection:
        await _locked(connection, busy.run_id)
        async with asyncio.timeout(3):
            assert [moved.run_id for moved in await stored.moves.sweep()] == [free.run_id]


async def test_many_who_sweep_at_once_move_each_run_once(database_url: str) -> None:
    async with open_stored(database_url) as one, open_stored(database_url) as other:
        for _ in range(20):
            await one.run()
        claims = await one.claims.take("one", 20)
        await one.database.execute("UPDATE claims SET lease_until = now() - interval '1 s'")
        swept = await asyncio.gather(*(stored.moves.sweep() for stored in (one, other, one, other)))
        assert sorted(m.run_id for moved in swept for m in moved) == sorted(c.run_id for c in claims)
        for claim in claims:
            assert await types(one, claim) == ["run.queued", "run.queued"]


async def test_of_an_end_and_everything_that_comes_at_the_same_moment_one_wins(database_url: str) -> None:
    async with open_stored(database_url) as one, open_stored(database_url) as other:
        for turn in range(12):
            claim = await one.claimed()
            if turn % 2:
                await one.expire(claim.run_id)
            await asyncio.gather(
                one.committer.commit(ending(claim)),
                other.moves.cancel(claim.run_id),
                other.moves.sweep(),
                other.claims.take("other", 1),
                return_exceptions=True,
            )
            run = await one.runs.get(claim.run_id)
            kinds = await types(one, claim)
            ended = [kind for kind in kinds if kind in ENDINGS]
            assert ended == ([] if run.status in OPEN else [f"run.{run.status}"]), turn
            assert run.last_seq == len(kinds)
            if run.status in OPEN:
                await one.moves.cancel(claim.run_id)
                await one.expire(claim.run_id)
                await one.moves.sweep()
            assert (await one.runs.get(claim.run_id)).status not in OPEN
            assert (await one.counts())["claims"] == 0
