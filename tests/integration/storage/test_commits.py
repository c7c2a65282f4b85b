from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.runs.events import Failure
from flowyard.storage.commits import MOST_CHARACTERS, MOST_RUNS, CommitResult, Committer
from support.rows import call_row, full_commit, step_row
from support.stored import LEASE_S, Stored, claims_of, commit_of, ending, open_stored
from support.waiting import eventually

AT = "2026-01-01T00:00:00+00:00"


@asynccontextmanager
async def committing(stored: Stored, batches: list[int] | None = None) -> AsyncIterator[Committer]:
    """Another committer, which appends to `batches` how many commits each of its statements had."""
    sizes: list[int] = [] if batches is None else batches
    committer = Committer(stored.database, lease_s=LEASE_S, on_batch=lambda _seconds, commits: sizes.append(commits))
    task = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        task.cancel()


WRITTEN = ("events", "steps", "step_parts")


async def test_what_many_runs_commit_together_is_one_statement(stored: Stored) -> None:
    claims = await claims_of(stored, 40)
    batches: list[int] = []
    async with committing(stored, batches) as committer:
        results = await asyncio.gather(*(committer.commit(commit_of(claim)) for claim in claims))
    assert results == [CommitResult(cancel_requested=False)] * 40
    assert sum(batches) == 40
    assert len(batches) <= 2
    for claim in claims:
        assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1, 2]


async def test_what_a_run_changes_often_is_rewritten_in_place(database_url: str) -> None:
    """Its claim, and its calls when they end: no index gets another entry for them."""
    in_place = """
        SELECT relname, n_tup_upd - n_tup_hot_upd AS moved FROM pg_stat_user_tables, pg_stat_force_next_flush()
        WHERE relname IN ('claims', 'step_parts') ORDER BY 1
    """
    # With one connection, whose counts are read.
    async with open_stored(database_url, most=1) as stored:
        await stored.database.rows(in_place)
        before = [tuple(row) for row in await stored.database.rows(in_place)]
        for _ in range(3):
            claim = await stored.claimed()
            for status, seq in (("running", 2), ("done", 3)):
                commit = commit_of(claim, seq=seq)
                commit.add_call(call_row(seq, part=1, status=status))
                await stored.committer.commit(commit)
        await stored.database.rows(in_place)
        assert [tuple(row) for row in await stored.database.rows(in_place)] == before


async def test_a_statement_takes_no_more_runs_than_it_should(stored: Stored) -> None:
    claims = await claims_of(stored, MOST_RUNS + 10)
    batches: list[int] = []
    async with committing(stored, batches) as committer:
        await asyncio.gather(*(committer.commit(commit_of(claim)) for claim in claims))
    assert max(batches) <= MOST_RUNS
    assert sum(batches) == MOST_RUNS + 10


async def test_large_commits_share_no_statement_beyond_its_limit(stored: Stored) -> None:
    claims = await claims_of(stored, 6)
    batches: list[int] = []
    commits = [commit_of(claim) for claim in claims]
    for commit in commits:
        commit.add_step(step_row(2, outputs={"x": "x" * (MOST_CHARACTERS // 2)}))
    async with committing(stored, batches) as committer:
        await asyncio.gather(*map(committer.commit, commits))
    assert batches == [2, 2, 2]


async def test_the_commits_of_one_run_are_written_in_their_order(stored: Stored) -> None:
    [claim] = await claims_of(stored, 1)
    batches: list[int] = []
    async with committing(stored, batches) as committer:
        await asyncio.gather(*(committer.commit(commit_of(claim, seq=seq)) for seq in range(2, 8)))
    assert batches == [1] * 6
    assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1, 2, 3, 4, 5, 6, 7]
    assert (await stored.runs.get(claim.run_id)).last_seq == 7


async def test_a_commit_is_written_into_every_table_and_renews_the_lease(stored: Stored) -> None:
    [claim] = await claims_of(stored, 1)
    await stored.expire(claim.run_id)
    before = await stored.counts()
    await stored.committer.commit(full_commit(claim))
    after = await stored.counts()
    assert {table: after[table] - before[table] for table in WRITTEN} == dict.fromkeys(WRITTEN, 1)
    held = await stored.database.row("SELECT *, lease_until > now() AS live FROM claims")
    assert held is not None
    assert (held["live"], held["last_seq"]) == (True, 2)


async def test_a_commit_under_a_stale_claim_changes_nothing_and_others_of_its_batch_are_written(stored: Stored) -> None:
    stale, good = await claims_of(stored, 2)
    await stored.expire(stale.run_id)
    await stored.moves.sweep()
    [again] = await stored.claims.take("other", 1)
    before = await stored.everything()
    lost, result = await asyncio.gather(
        stored.committer.commit(full_commit(stale)), stored.committer.commit(full_commit(good)), return_exceptions=True
    )
    assert isinstance(lost, ClaimLost)
    assert result == CommitResult(cancel_requested=False)
    after = await stored.everything()
    for table, rows in after.items():
        new = set(rows) - set(before[table])
        assert all(str(good.run_id) in row for row in new), table
    with pytest.raises(ClaimLost):
        await stored.committer.commit(ending(stale))
    assert await stored.everything() == after
    assert (await stored.claims.renew({again.run_id: again.epoch})).held == {again.run_id}


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
async def test_a_run_that_has_ended_takes_no_commit_any_more(stored: Stored, status: str) -> None:
    claim = await stored.claimed()
    await stored.committer.commit(full_commit(claim))
    await stored.finish(claim, status, seq=3)
    ended = await stored.everything()
    for late in (commit_of(claim, seq=4), ending(claim, seq=4)):
        with pytest.raises(ClaimLost):
            await stored.committer.commit(late)
    assert await stored.everything() == ended
    assert (await stored.runs.get(claim.run_id)).status == status
    assert ended["claims"] == []


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param("[" * 100_000 + "]" * 100_000, id="nested too deeply"),
        pytest.param('{"a": ', id="no JSON"),
        pytest.param("\ud800", id="no UTF-8"),
        pytest.param("\x00", id="NUL"),
    ],
)
async def test_a_commit_that_postgres_refuses_fails_alone(stored: Stored, poison: str) -> None:
    claims = await claims_of(stored, 9)
    commits = [full_commit(claim) for claim in claims]
    commits[4].entries = poison
    results = await asyncio.gather(*(stored.committer.commit(commit) for commit in commits), return_exceptions=True)
    assert isinstance(results.pop(4), CommitRefused)
    assert results == [CommitResult(cancel_requested=False)] * 8
    written = [len(await stored.entries(claim.run_id)) for claim in claims]
    assert written == [2, 2, 2, 2, 1, 2, 2, 2, 2]
    # The claim is as it was, and what follows is taken.
    assert await stored.committer.commit(commit_of(claims[4])) == CommitResult(cancel_requested=False)


async def test_a_number_that_fits_no_column_is_refused_and_not_tried_for_ever(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = full_commit(claim)
    commit.add_call(call_row(99, tokens_in=2**40))
    async with asyncio.timeout(5):
        with pytest.raises(CommitRefused):
            await stored.committer.commit(commit)


async def test_a_refusal_shows_no_values(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    claim = await stored.claimed()
    commit = full_commit(claim)
    commit.outputs, commit.status = '{"a": mysecret', "succeeded"
    with pytest.raises(CommitRefused) as refused:
        await stored.committer.commit(commit)
    assert "mysecret" not in str(refused.value)
    assert [record.message for record in caplog.records] == ["commit refused"]
    assert "mysecret" not in str([vars(record) for record in caplog.records])


async def test_to_commit_the_same_again_changes_nothing(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = full_commit(claim)
    await stored.committer.commit(commit)
    once = await without_lease(stored)
    await stored.committer.commit(commit)
    assert await without_lease(stored) == once


async def without_lease(stored: Stored) -> dict[str, list[str]]:
    await stored.database.execute("UPDATE claims SET lease_until = NULL")
    return await stored.everything()


async def test_a_step_that_has_ended_stays_as_it_is_and_a_second_end_is_refused(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = full_commit(claim)
    await stored.committer.commit(commit)
    late = commit_of(claim, "step.failed", seq=3)
    late.add_step(step_row(3, status="failed", handled="fail", error=Failure("a", "b")))
    with pytest.raises(CommitRefused, match="can't be changed"):
        await stored.committer.commit(late)
    assert [(step.status, step.seq) for step in await stored.history.steps(claim.run_id)] == [("succeeded", 2)]
    # Nothing of it is written, not even its event.
    assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1, 2]


async def test_a_commit_that_would_change_an_ended_step_harms_no_other(stored: Stored) -> None:
    claims = await claims_of(stored, 3)
    for claim in claims:
        await stored.committer.commit(full_commit(claim))
    commits = [commit_of(claim, seq=3) for claim in claims]
    commits[1].add_step(step_row(3, status="failed", handled="fail", error=Failure("a", "b")))
    results = await asyncio.gather(*(stored.committer.commit(commit) for commit in commits), return_exceptions=True)
    assert [type(result) for result in results] == [CommitResult, CommitRefused, CommitResult]
    assert [len(await stored.entries(claim.run_id)) for claim in claims] == [3, 2, 3]


async def test_what_is_at_work_when_its_run_ends_is_interrupted(stored: Stored) -> None:
    """Also what an earlier claim left: the last commit needn't name it."""
    claim = await stored.claimed()
    commit = full_commit(claim)
    commit.add_step(step_row(2, "later", status="running", outputs=None))
    commit.add_step(step_row(2, "now", status="waiting", outputs=None))
    await stored.committer.commit(commit)
    end = ending(claim, seq=3)
    end.add_step(step_row(3, "now"))
    await stored.committer.commit(end)
    steps = {step.node: step.status for step in await stored.history.steps(claim.run_id)}
    assert steps == {"write": "succeeded", "later": "interrupted", "now": "succeeded"}


async def test_a_commit_returns_that_a_cancel_was_requested(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.moves.cancel(claim.run_id)
    assert await stored.committer.commit(commit_of(claim)) == CommitResult(cancel_requested=True)


async def test_a_commit_waits_for_a_place_while_the_queue_is_full(stored: Stored) -> None:
    claims = await claims_of(stored, 6)
    committer = Committer(stored.database, lease_s=LEASE_S, most_waiting=2)
    waiting = [asyncio.create_task(committer.commit(commit_of(claim))) for claim in claims]
    await eventually(lambda: committer.waiting == 2)
    assert not any(task.done() for task in waiting)
    task = asyncio.create_task(committer.run())
    assert await asyncio.gather(*waiting) == [CommitResult(cancel_requested=False)] * 6
    task.cancel()


async def test_a_commit_whose_run_gave_up_waiting_is_not_written(stored: Stored) -> None:
    claim, later = await claims_of(stored, 2)
    committer = Committer(stored.database, lease_s=LEASE_S)
    waiting = asyncio.create_task(committer.commit(commit_of(claim)))
    await eventually(lambda: committer.waiting == 1)
    waiting.cancel()
    task = asyncio.create_task(committer.run())
    await committer.commit(commit_of(later))
    task.cancel()
    assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1]


async def test_a_call_that_has_ended_is_never_changed(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.committer.commit(full_commit(claim))
    later = commit_of(claim, seq=3)
    later.add_call(call_row(3, part=2, tokens_in=99))
    with pytest.raises(CommitRefused, match="what has ended can't be changed"):
        await stored.committer.commit(later)
    [call] = await stored.history.calls(claim.run_id)
    assert call == call_row(2)
    assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1, 2]
