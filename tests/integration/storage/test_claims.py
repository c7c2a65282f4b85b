from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from json import loads
from typing import Any, Final
from uuid import UUID

import pytest

from flowyard.errors.runs import ClaimLost
from flowyard.runs.events import StepId
from flowyard.runs.run import ENGINE, Step, StepStatus
from flowyard.storage.rows import CallRow, CallStatus
from support.stored import LEASE_S, LONG_AGO, Stored, commit_of, ending, open_stored

_OLD_TAKE: Final = "SELECT * FROM claim_runs($1, $2, make_interval(secs => $3))"
"""How executors of the release before claim runs."""


async def test_only_one_of_two_executors_can_take_a_run(database_url: str) -> None:
    async with open_stored(database_url) as one, open_stored(database_url) as other:
        for _ in range(10):
            run_id = await one.run()
            taken = await asyncio.gather(one.claims.take("one", 5), other.claims.take("other", 5))
            assert [claim.run_id for claims in taken for claim in claims] == [run_id]


async def test_a_claim_says_what_its_run_is(stored: Stored) -> None:
    revision = await stored.workflow("poems")
    claim = await stored.claimed("poems", inputs={"topic": "sea"}, timeout_s=60.0)
    assert (claim.workflow, claim.revision, claim.digest) == ("poems", revision.number, revision.digest)
    assert (loads(claim.inputs), claim.attempt, claim.epoch, claim.last_seq) == ({"topic": "sea"}, 1, 1, 1)
    assert (claim.engine, claim.has_steps, claim.cancel_requested) == (ENGINE, False, False)
    assert claim.left_s == pytest.approx(60.0, abs=1)
    assert claim.waited_s >= 0
    run = await stored.runs.get(claim.run_id)
    assert (run.status, run.executor, run.started_at) == ("running", "one", claim.started_at)


async def test_a_lease_begins_after_the_claim_was_asked_for(stored: Stored) -> None:
    """However long the statement took."""
    await stored.run()
    async with stored.database.transaction() as other:
        await other.execute("LOCK TABLE claims IN ACCESS EXCLUSIVE MODE")
        taking = asyncio.create_task(stored.claims.take("one", 1))
        await asyncio.sleep(0.2)  # Postgres has the statement
        before = time.monotonic()
    [claim] = await taking
    assert claim.requested_at < before


async def test_executors_of_the_release_before_get_only_runs_of_its_rules(stored: Stored) -> None:
    """They call the function without the rules that they know. A run of theirs may be continued by anybody."""
    new, old = await stored.run(), await stored.run()
    await stored.database.execute("UPDATE runs SET engine = 0 WHERE id = $1", old)
    rows = await stored.database.rows(_OLD_TAKE, "old", 5, LEASE_S)
    assert [row["run_id"] for row in rows] == [old]
    assert {"head_checkpoint": None, "epoch": 1, "has_steps": False}.items() <= dict(rows[0]).items()
    assert "engine" not in dict(rows[0])
    await stored.expire(old)
    await stored.moves.sweep()
    assert {(claim.run_id, claim.engine) for claim in await stored.claims.take("one", 5)} == {(new, ENGINE), (old, 0)}


async def test_executors_of_the_release_before_find_only_what_they_can_read(stored: Stored) -> None:
    """They take any row of a step for the end of the step, or for its wait."""
    claim = await stored.claimed()
    commit = commit_of(claim)
    steps: list[StepStatus] = ["succeeded", "waiting", "failed", "running", "interrupted", "retrying"]
    for status in steps:
        commit.add_step(Step(node=status, visit=1, status=status, seq=2, started_at=LONG_AGO))
    calls: list[CallStatus] = ["done", "failed", "lost", "reserved", "running"]
    about: dict[str, Any] = {"seq": 2, "provider": "test", "model": "m", "at": LONG_AGO}
    for part, call in enumerate(calls):
        commit.add_call(CallRow(step=StepId("running", 1), part=part, status=call, **about))
    await stored.committer.commit(commit)
    await stored.database.execute("UPDATE runs SET engine = 0, status = 'queued'")
    assert len(await stored.database.rows(_OLD_TAKE, "old", 1, LEASE_S)) == 1
    assert [step.status for step in await stored.history.record(claim.run_id)] == ["failed", "succeeded", "waiting"]
    rows = await stored.database.rows("SELECT status FROM step_parts ORDER BY part")
    assert [row["status"] for row in rows] == ["done", "failed", "lost"]


async def test_a_run_that_nobody_knows_the_rules_of_stays_queued(stored: Stored) -> None:
    run_id = await stored.run()
    await stored.database.execute("UPDATE runs SET engine = 99 WHERE id = $1", run_id)
    assert await stored.claims.take("one", 5) == []


async def test_the_limit_of_a_workflow_holds_while_many_claim_at_once(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        executors = [await stack.enter_async_context(open_stored(database_url)) for _ in range(4)]
        await executors[0].workflow("narrow", concurrency=3)
        runs = [await executors[0].run("narrow") for _ in range(24)]
        running: set[UUID] = set()
        most = 0

        async def work(stored: Stored, name: str) -> list[UUID]:
            nonlocal most
            done: list[UUID] = []
            while len(ended) < len(runs):
                for claim in await stored.claims.take(name, 2):
                    running.add(claim.run_id)
                    most = max(most, len(running))
                    await asyncio.sleep(0)
                    running.remove(claim.run_id)
                    await stored.finish(claim)
                    ended.append(claim.run_id)
                    done.append(claim.run_id)
                counted = await stored.database.value("SELECT count(*) FROM runs WHERE status = 'running'")
                assert counted <= 3
            return done

        ended: list[UUID] = []
        done = await asyncio.gather(*(work(stored, f"e{i}") for i, stored in enumerate(executors)))
    assert sorted(run for mine in done for run in mine) == sorted(runs)
    assert most <= 3


async def test_the_limit_holds_for_a_run_that_comes_while_another_is_claimed(stored: Stored) -> None:
    """Who counts the running ones has to wait for a claim that isn't committed."""
    await stored.workflow("narrow", concurrency=1)
    await stored.run("narrow")
    async with stored.database.transaction() as connection:
        assert len(await connection.fetch("SELECT * FROM claim_runs('one', 1, interval '30 s', '{1}', true)")) == 1
        await stored.run("narrow", priority=5)
        claiming = asyncio.create_task(stored.claims.take("other", 1))
        await asyncio.wait([claiming], timeout=0.3)  # who doesn't wait would have counted in this time
    assert await claiming == []


async def test_the_highest_priority_comes_first_and_then_the_oldest(stored: Stored) -> None:
    low = [await stored.run(priority=-1), await stored.run(priority=-1)]
    middle = [await stored.run(), await stored.run()]
    high = await stored.run("other", priority=5)
    taken = [claim.run_id for claim in await stored.claims.take("one", 4)]
    assert taken == [high, *middle, low[0]]
    assert [claim.run_id for claim in await stored.claims.take("one", 4)] == [low[1]]


async def test_a_higher_priority_comes_before_fairness_between_workflows(stored: Stored) -> None:
    for _ in range(2):
        await stored.run("calm")
    urgent = [await stored.run("urgent", priority=5) for _ in range(2)]
    assert [claim.run_id for claim in await stored.claims.take("one", 2)] == urgent


async def test_a_workflow_with_a_thousand_queued_runs_does_not_starve_one_with_a_single_run(stored: Stored) -> None:
    await stored.run("crowd")
    await stored.database.execute(
        "INSERT INTO runs (id, definition, revision, last_seq, priority, max_attempts, workflow, status, inputs)"
        " SELECT gen_random_uuid(), definition, revision, 1, 0, 3, workflow, status, inputs"
        " FROM runs CROSS JOIN generate_series(2, 1000)"
    )
    await stored.run("lonely")
    assert {claim.workflow for claim in await stored.claims.take("one", 2)} == {"crowd", "lonely"}
    # What runs already counts: each has its second run before anybody has a third.
    await stored.run("lonely")
    assert {claim.workflow for claim in await stored.claims.take("one", 2)} == {"crowd", "lonely"}
    assert {claim.workflow for claim in await stored.claims.take("one", 2)} == {"crowd"}


async def test_an_executor_gets_no_more_runs_than_it_requests(stored: Stored) -> None:
    for _ in range(5):
        await stored.run()
    assert [len(await stored.claims.take("one", 2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_run_whose_lease_is_over_goes_back_and_on_elsewhere(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    [moved] = await stored.moves.sweep()
    assert (moved.run_id, moved.status) == (claim.run_id, "queued")
    [again] = await stored.claims.take("other", 1)
    assert (again.run_id, again.attempt, again.last_seq) == (claim.run_id, 2, claim.last_seq + 1)
    assert again.epoch > claim.epoch
    with pytest.raises(ClaimLost):
        await stored.committer.commit(commit_of(claim))
    assert not (await stored.claims.renew({claim.run_id: claim.epoch})).held


async def test_a_live_lease_is_left_alone(stored: Stored) -> None:
    claim = await stored.claimed()
    assert await stored.moves.sweep() == []
    assert (await stored.runs.get(claim.run_id)).status == "running"


async def test_a_run_that_loses_its_executor_too_often_fails(stored: Stored) -> None:
    run_id = await stored.run(max_attempts=2)
    for attempt in (1, 2):
        assert [claim.attempt for claim in await stored.claims.take("one", 1)] == [attempt]
        await stored.expire(run_id)
        await stored.moves.sweep()
    run = await stored.runs.get(run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "executor_lost")
    assert [entry.type for entry in await stored.entries(run_id)] == ["run.queued", "run.queued", "run.failed"]


async def test_to_hand_a_run_back_uses_up_no_attempt(stored: Stored) -> None:
    run_id = await stored.run(max_attempts=1)
    for _ in range(3):
        [claim] = await stored.claims.take("one", 1)
        assert claim.attempt == 1
        await stored.hand_back(claim)
        with pytest.raises(ClaimLost):
            await stored.hand_back(claim)
        assert (await stored.runs.get(run_id)).status == "queued"
    [claim] = await stored.claims.take("one", 1)
    await stored.hand_back(claim, seconds=60)
    assert (await stored.runs.get(run_id)).status == "waiting"
    await stored.database.execute("UPDATE runs SET wake_at = now()")
    assert [moved.status for moved in await stored.moves.sweep()] == ["queued"]
    assert [claim.attempt for claim in await stored.claims.take("one", 1)] == [1]


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_a_run_that_others_have_claimed_is_not_handed_back(stored: Stored, seconds: float | None) -> None:
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    await stored.moves.sweep()
    [other] = await stored.claims.take("other", 1)
    before = await stored.everything()
    with pytest.raises(ClaimLost):
        await stored.hand_back(claim, seconds)
    assert await stored.everything() == before
    await stored.hand_back(other, seconds)


async def test_the_time_of_a_run_begins_with_its_first_claim_only(stored: Stored) -> None:
    first = await stored.claimed(timeout_s=600.0)
    await stored.database.execute("UPDATE runs SET deadline = deadline - interval '400 s'")
    await stored.hand_back(first)
    [again] = await stored.claims.take("other", 1)
    assert again.left_s == pytest.approx(200, abs=60)
    assert again.started_at == first.started_at


async def test_a_sleeping_run_is_nobodys_until_its_time_has_come(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.hand_back(claim, seconds=600)
    assert await stored.claims.take("one", 1) == []
    assert await stored.moves.sweep() == []
    await stored.database.execute("UPDATE runs SET wake_at = wake_at - interval '600 s'")
    assert [moved.status for moved in await stored.moves.sweep()] == ["queued"]
    assert len(await stored.claims.take("one", 1)) == 1


@pytest.mark.parametrize("seconds", [None, 600.0], ids=["handed back", "waiting"])
async def test_a_claim_that_is_given_up_has_no_deadline_any_more(stored: Stored, seconds: float | None) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim)
    commit.step_deadline = claim.at
    await stored.committer.commit(commit)
    assert await stored.database.value("SELECT step_deadline FROM claims") == claim.at
    await stored.hand_back(claim, seconds, seq=3)
    assert await stored.database.value("SELECT step_deadline FROM claims") is None


async def test_a_renewal_returns_what_is_held_and_what_should_end(stored: Stored) -> None:
    kept, cancelled, lost = [await stored.claimed() for _ in range(3)]
    assert (await stored.moves.cancel(cancelled.run_id)).entry is None
    await stored.expire(lost.run_id)
    await stored.moves.sweep()
    renewed = await stored.claims.renew({c.run_id: c.epoch for c in (kept, cancelled, lost)})
    assert renewed.held == {kept.run_id, cancelled.run_id}
    assert renewed.cancelled == {cancelled.run_id}
    assert renewed.at >= kept.at


async def test_a_renewed_claim_holds_for_a_whole_lease_again(stored: Stored) -> None:
    renewed, other = await stored.claimed(), await stored.claimed()
    for claim in (renewed, other):
        await stored.expire(claim.run_id)
    await stored.claims.renew({renewed.run_id: renewed.epoch})
    [left] = await stored.database.rows(
        "SELECT extract(epoch FROM lease_until - now())::float8 AS s FROM claims WHERE run_id = $1", renewed.run_id
    )
    assert left["s"] == pytest.approx(LEASE_S, abs=2)
    assert [moved.run_id for moved in await stored.moves.sweep()] == [other.run_id]


async def test_a_renewal_does_not_wait_for_a_commit_and_holds_what_it_writes(stored: Stored) -> None:
    claims = [await stored.claimed(), await stored.claimed()]
    async with stored.database.transaction() as commit, asyncio.timeout(10):
        await commit.execute("SELECT FROM claims WHERE run_id = $1 FOR UPDATE", claims[0].run_id)
        renewed = await stored.claims.renew({claim.run_id: claim.epoch for claim in claims})
    assert renewed.held == {claim.run_id for claim in claims}


async def test_renewals_and_commits_of_the_same_runs_never_wait_for_each_other(stored: Stored) -> None:
    for _ in range(64):
        await stored.run()
    claims = await stored.claims.take("one", 64)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await stored.database.value(deadlocks)

    async def commit() -> None:
        for turn in range(2, 22):
            await asyncio.gather(*(stored.committer.commit(commit_of(claim, seq=turn)) for claim in reversed(claims)))

    async def renew() -> None:
        while not committing.done():
            renewed = await stored.claims.renew({claim.run_id: claim.epoch for claim in claims})
            assert len(renewed.held) == 64

    committing = asyncio.create_task(commit())
    async with asyncio.timeout(10):
        await asyncio.gather(committing, renew(), renew())
    assert await stored.database.value(deadlocks) == before


async def test_an_executor_that_starts_again_finds_the_runs_of_its_former_life(stored: Stored) -> None:
    mine, other = await stored.claimed(executor="one"), await stored.claimed(executor="other")
    assert await stored.claims.claimed_by("one") == [mine.run_id]
    assert await stored.moves.release(other.run_id, "one") is None
    moved = await stored.moves.release(mine.run_id, "one")
    assert moved is not None
    assert (moved.status, await stored.claims.claimed_by("one")) == ("queued", [])
    with pytest.raises(ClaimLost):
        await stored.committer.commit(ending(mine))


async def test_how_long_executors_had_a_run_is_counted_over_its_claims_and_apart_from_its_waits(stored: Stored) -> None:
    """Each claim is made to have lasted ten seconds, and each wait an hour."""
    begun = "UPDATE claims SET claimed_at = claimed_at - interval '10 s'"
    waited = "UPDATE runs SET wake_at = now(), started_at = started_at - interval '1 h'"
    claim = await stored.claimed()
    await stored.database.execute(begun)
    assert (await stored.runs.get(claim.run_id)).worked_s == pytest.approx(10, abs=1)
    await stored.hand_back(claim, seconds=3600)
    await stored.database.execute(waited)
    assert (await stored.runs.get(claim.run_id)).worked_s == pytest.approx(10, abs=1)
    await stored.moves.sweep()
    [lost] = await stored.claims.take("two", 1)
    await stored.database.execute(begun)
    await stored.database.execute("UPDATE claims SET lease_until = now() - interval '4 s'")
    await stored.moves.sweep()
    assert (await stored.runs.get(claim.run_id)).worked_s == pytest.approx(16, abs=1)
    [last] = await stored.claims.take("three", 1)
    await stored.database.execute(begun)
    await stored.finish(last, seq=lost.last_seq + 2)
    run = await stored.runs.get(claim.run_id)
    assert run.worked_s == pytest.approx(26, abs=1)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert (run.finished_at - run.started_at).total_seconds() > 3600
