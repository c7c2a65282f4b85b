"""Calls that are added to the ledger without a claim, because their executor has lost it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowyard.runs.events import StepId
from flowyard.storage.lost_calls import LostCalls, UnwrittenCall
from flowyard.storage.rows import CallRow
from support.stored import Stored, commit_of

BEGUN_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
ROW = CallRow(seq=2, step=StepId("a", 1), part=1, status="running", provider="openai", model="gpt", at=BEGUN_AT)
ENDED = ROW._replace(status="done", at=BEGUN_AT + timedelta(seconds=1), tokens_in=7, duration_s=1.0)


async def test_a_lost_call_is_added_once_however_often_it_is_sent(stored: Stored) -> None:
    claim, lost = await stored.claimed(), LostCalls(stored.database)
    calls = [UnwrittenCall(ROW, BEGUN_AT), UnwrittenCall(ROW._replace(part=2), BEGUN_AT)]
    assert await lost.add(claim.run_id, 1, calls) == calls
    assert await lost.add(claim.run_id, 1, calls) == []
    assert await lost.add(claim.run_id, 2, calls[:1]) == calls[:1]
    rows = await stored.history.calls(claim.run_id)
    assert [(row.status, row.error, row.cost_usd) for row in rows] == [("lost", "executor_lost", None)] * 3
    # Nothing of the run's own calls is in the way, and pages can tell them apart.
    assert len({row.seq for row in rows}) == 3
    assert all(row.seq == row.part < 0 for row in rows)


@pytest.mark.parametrize("on_disk", [ROW, ENDED, ROW._replace(seq=9, status="lost")])
async def test_a_call_of_which_a_row_is_there_after_all_is_not_added(stored: Stored, on_disk: CallRow) -> None:
    """The answer to its commit was lost, and then the claim."""
    claim = await stored.claimed()
    commit = commit_of(claim)
    commit.add_call(on_disk)
    await stored.committer.commit(commit)
    assert await LostCalls(stored.database).add(claim.run_id, 1, [UnwrittenCall(ENDED, BEGUN_AT)]) == []


async def test_the_same_part_of_another_claim_is_another_call(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim)
    commit.add_call(ENDED._replace(at=BEGUN_AT + timedelta(seconds=5)))
    await stored.committer.commit(commit)
    call = UnwrittenCall(ENDED, BEGUN_AT)
    assert await LostCalls(stored.database).add(claim.run_id, 1, [call]) == [call]


async def test_a_call_of_a_model_that_costs_nothing_has_cost_nothing(stored: Stored) -> None:
    claim = await stored.claimed()
    await LostCalls(stored.database).add(claim.run_id, 1, [UnwrittenCall(ROW._replace(provider="local"), BEGUN_AT)])
    assert [row.cost_usd for row in await stored.history.calls(claim.run_id)] == [0]


async def test_nothing_is_left_of_a_run_that_is_deleted(stored: Stored) -> None:
    claim, lost = await stored.claimed(), LostCalls(stored.database)
    await lost.add(claim.run_id, 1, [UnwrittenCall(ROW, BEGUN_AT)])
    await stored.finish(claim)
    await stored.retention.delete_runs(older_than_s=-1)
    # Its executor goes on only now.
    assert await lost.add(claim.run_id, 1, [UnwrittenCall(ROW, BEGUN_AT)]) == []
    assert await stored.database.value("SELECT count(*) FROM step_parts") == 0
