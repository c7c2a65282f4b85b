from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.durable.journal import EVENT_DELAY, Journal
from flowyard.errors.requests import IllegalMove
from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.runs.events import (
    Failure,
    LoopTurned,
    ModelCalled,
    RouteTaken,
    RunFinished,
    RunQueued,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from support.attempts import Attempts, WireModel
from support.stored import Stored
from support.waiting import eventually
from support.wire.server import Request
from support.workflows import document

A, B = StepId("a", 1), StepId("b", 1)
SUCCEEDED = RunFinished("succeeded", 1.0, {"x": 1})


def ended(step: StepId, outputs: Any = None) -> StepFinished:
    return StepFinished(step, 0.5, outputs or {}, 1, 1, 1, None)


@pytest.fixture
async def journal(stored: Stored, attempts: Attempts) -> Journal:
    await stored.run()
    one = attempts.executor(WireModel())
    return one.journal(await one.take())


async def kinds(stored: Stored, journal: Journal) -> list[str]:
    entries = await stored.entries(journal.claim.run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.type for entry in entries]


async def written(stored: Stored, journal: Journal, *types: str) -> None:
    """Returns when the run has these entries."""

    async def are_written() -> bool:
        return await kinds(stored, journal) == list(types)

    await eventually(are_written)


async def test_events_are_written_by_themselves_after_a_moment(stored: Stored, journal: Journal) -> None:
    journal.append(StepStarted(A))
    await asyncio.sleep(0)
    assert await kinds(stored, journal) == ["run.queued"]
    await written(stored, journal, "run.queued", "step.started")


async def test_where_a_step_leads_comes_after_its_end(stored: Stored, journal: Journal) -> None:
    journal.append(StepStarted(A))
    journal.hold_end("task", ended(A))
    journal.append(RouteTaken("a", "b", None))
    journal.append(LoopTurned("a", 1, 3, "b", "again"))
    journal.append(RouteTaken("join", "c", None))
    journal.save_writes("task", [])
    await journal.finish(SUCCEEDED)
    told = await kinds(stored, journal)
    assert told == [
        *("run.queued", "step.started", "route.taken", "step.finished", "route.taken", "loop.turned", "run.succeeded")
    ]


async def test_a_step_is_told_in_the_order_in_which_it_happened(stored: Stored, attempts: Attempts) -> None:
    text = document(
        "a b c",
        edges="""
        - {from: START, to: a}
        - {from: a, routes: [{if: "a == 'a'", to: b}, {default: c}]}
        - {from: b, loop: {to: b, until: "iterations('b') >= 2", max_iterations: 3, exit_to: c}}
        - {from: c, to: END}
        """,
    )
    run_id = await attempts.submit(text)
    one = attempts.executor(WireModel())
    await one.run()
    step = ["step.started", "model.called", "step.finished"]
    told = [entry.type for entry in await stored.entries(run_id)]
    assert told == [
        *("run.queued", "run.claimed", *step, "route.taken"),
        *(*step, "loop.turned", *step, "loop.turned", *step, "run.succeeded"),
    ]
    assert one.announced == (await stored.entries(run_id))[1:]


async def test_nobody_is_told_of_what_is_not_on_disk(stored: Stored, attempts: Attempts) -> None:
    await attempts.submit(document("a"))
    one = attempts.executor(WireModel())
    one.committing.cancel()
    journal = one.journal(await one.take())
    journal.append(StepStarted(A))
    await asyncio.sleep(EVENT_DELAY * 1.5)  # the time after which it would be written
    assert one.announced == []
    one.committing = asyncio.create_task(one.committer.run())
    await journal.writer.stop()
    assert [entry.type for entry in one.announced] == ["step.started"]


async def test_the_end_of_a_step_waits_for_langgraphs_record_of_it(stored: Stored, journal: Journal) -> None:
    journal.hold_end("task", ended(A))
    journal.append(StepStarted(B))
    await written(stored, journal, "run.queued", "step.started")
    journal.save_writes("task", [("", "c1", "task", 0, "", "a", "[1,null]")])
    await journal.results_durable()
    assert await kinds(stored, journal) == ["run.queued", "step.started", "step.finished"]
    counts = await stored.counts()
    assert (counts["steps"], counts["checkpoint_writes"]) == (1, 1)


async def test_settled_means_on_disk(stored: Stored, journal: Journal) -> None:
    for number in range(1, 6):
        journal.hold_end("task", ended(StepId("a", number)))
        journal.save_writes("task", [])
        await journal.results_durable()
        assert len(await stored.history.steps(journal.claim.run_id)) == number


async def test_what_has_ended_when_the_run_is_given_back_is_kept(stored: Stored, journal: Journal) -> None:
    journal.hold_end("task", ended(A))
    entries, seq = await journal.close(RunQueued("drained"))
    assert await stored.claims.hand_back(journal.claim.run_id, journal.claim.epoch, entries=entries, last_seq=seq)
    assert await kinds(stored, journal) == ["run.queued", "step.finished", "run.queued"]
    assert [step.node for step in await stored.history.steps(journal.claim.run_id)] == ["a"]


async def test_every_kind_of_event_gets_into_its_tables(stored: Stored, journal: Journal) -> None:
    failure = Failure("provider_error", "down", "a")
    call = ModelCalled(A, "openai", "m", 0.5, 0.1, 10, None, 3, None, failure, None)
    journal.append(StepStarted(A))
    journal.append(Token(A, "never stored"))
    journal.append(call)
    journal.hold_end("task", StepFailed(A, 0.5, failure, "continue"))
    await journal.finish(RunFinished("failed", 1.0, {"x": 1}, failure))
    [step] = await stored.history.steps(journal.claim.run_id)
    [line] = await stored.history.calls(journal.claim.run_id)
    assert (step.status, step.error, step.handled, step.tries) == ("failed", failure, "continue", 1)
    assert (line.provider, line.tokens_in, line.tokens_out, line.cost_usd) == ("openai", 10, None, None)
    assert (line.error, line.step) == ("provider_error", A)
    run = await stored.runs.get(journal.claim.run_id)
    assert (run.status, run.error, run.outputs) == ("failed", failure, {"x": 1})
    assert (run.spending.calls, run.spending.tokens_in, run.spending.cost_usd) == (1, 10, None)


@pytest.mark.parametrize(
    "outputs", [{"x": float("inf")}, {"x": 10**5000}, {"x": object()}], ids=["infinity", "5,000 digits", "no JSON"]
)
async def test_a_result_that_can_not_be_stored_fails_its_run_and_leaves_no_gap(
    stored: Stored, journal: Journal, outputs: Any
) -> None:
    journal.append(StepStarted(A))
    await written(stored, journal, "run.queued", "step.started")
    journal.hold_end("task", ended(A, outputs))
    with pytest.raises(CommitRefused):
        journal.save_writes("task", [])
    journal.append(StepStarted(B))
    await journal.finish(SUCCEEDED)
    told = await kinds(stored, journal)
    assert (told[:2], told[-1]) == (["run.queued", "step.started"], "run.failed")
    run = await stored.runs.get(journal.claim.run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "commit_refused")
    assert (await stored.counts())["claims"] == 0


async def test_what_postgres_refuses_fails_the_run_and_leaves_no_gap(stored: Stored, journal: Journal) -> None:
    journal.append(StepStarted(A))
    await written(stored, journal, "run.queued", "step.started")
    journal.append(ModelCalled(A, "openai", "m", 0.5, None, 2**40, 1, None, None, None, None))
    journal.hold_end("task", ended(A))
    journal.save_writes("task", [])
    with pytest.raises(CommitRefused):
        await journal.results_durable()
    journal.append(StepStarted(B))
    await journal.finish(SUCCEEDED)
    assert await kinds(stored, journal) == ["run.queued", "step.started", "run.failed"]
    run = await stored.runs.get(journal.claim.run_id)
    assert (run.status, run.error and run.error.code, run.last_seq) == ("failed", "commit_refused", 3)
    # The ledger's line is lost with it, and the run can be retried.
    await stored.moves.retry(journal.claim.run_id)


async def test_an_end_waits_for_the_commit_that_is_under_way(stored: Stored, journal: Journal) -> None:
    """And is no success if Postgres refuses that one."""
    journal.append(ModelCalled(A, "openai", "m", 0.5, None, 2**40, 1, None, None, None, None))
    journal.writer.commit_within(0)
    await eventually(lambda: journal.writer._is_writing, pause_s=0)
    await journal.finish(SUCCEEDED)
    assert await kinds(stored, journal) == ["run.queued", "run.failed"]


async def test_outputs_that_can_not_be_stored_fail_the_run(stored: Stored, journal: Journal) -> None:
    journal.hold_end("task", ended(A))
    journal.save_writes("task", [])
    await journal.results_durable()
    await journal.finish(RunFinished("succeeded", 1.0, {"x": float("nan")}))
    assert await kinds(stored, journal) == ["run.queued", "step.finished", "run.failed"]


async def test_a_sum_without_end_fails_its_run_and_no_other(stored: Stored, attempts: Attempts) -> None:
    text = document(
        "",
        fields="total: {type: float, reduce: add, default: 1.0e+308}",
        nodes="""
        - {id: a, prompt: a, outputs: [total]}
        - {id: b, prompt: b, outputs: [total]}
        """,
    )
    run_id = await attempts.submit(text)

    async def much(_request: Request) -> str:
        return "1e308"

    result = await attempts.executor(WireModel({"a": much, "b": much})).run()
    assert result is not None
    run = await stored.runs.get(run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "commit_refused")


async def test_a_lost_claim_is_told_once_and_stops_everything(stored: Stored, journal: Journal) -> None:
    await stored.expire(journal.claim.run_id)
    await stored.moves.sweep()
    journal.hold_end("task", ended(A))
    journal.save_writes("task", [])
    with pytest.raises(ClaimLost):
        await journal.results_durable()
    with pytest.raises(ClaimLost):
        await journal.finish(SUCCEEDED)
    with pytest.raises(ClaimLost):
        await journal.close(RunQueued("drained"))
    assert await kinds(stored, journal) == ["run.queued", "run.queued"]


async def test_a_run_that_has_ended_can_not_be_ended_again(stored: Stored, journal: Journal) -> None:
    await journal.finish(SUCCEEDED)
    with pytest.raises(ClaimLost):
        await journal.finish(SUCCEEDED)
    with pytest.raises(IllegalMove):
        await stored.moves.cancel(journal.claim.run_id)
    assert await kinds(stored, journal) == ["run.queued", "run.succeeded"]


async def test_the_times_of_events_are_those_that_the_journal_is_given(stored: Stored, journal: Journal) -> None:
    before = datetime.now(UTC)
    journal.append(StepStarted(A))
    await journal.finish(SUCCEEDED)
    entries = (await stored.entries(journal.claim.run_id))[1:]
    assert all(before <= entry.at <= datetime.now(UTC) for entry in entries)
