from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowyard.durable.journal import EVENT_DELAY, Journal
from flowyard.errors.requests import IllegalMove
from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.runs.events import (
    Failure,
    ModelCalled,
    RetryScheduled,
    RouteTaken,
    RunFinished,
    RunQueued,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.run import CallStart, Step
from support.attempts import Attempts, WireModel
from support.stored import Stored
from support.waiting import eventually
from support.wire.server import Request
from support.workflows import document

A, B = StepId("a", 1), StepId("b", 1)
CALL = CallStart(A, 1, 0, 0, "openai", "m")
SUCCEEDED = RunFinished("succeeded", 1.0, {"x": 1})


def ended(step: StepId, outputs: Any = None) -> StepFinished:
    return StepFinished(step, 0.5, outputs or {}, 1, 1, 1, None)


@pytest.fixture
async def journal(stored: Stored, attempts: Attempts) -> Journal:
    await stored.run()
    one = attempts.executor(WireModel())
    return one.journal(await one.take())


def start(journal: Journal, step: StepId = A, *, timeout_s: float | None = None) -> None:
    journal.begin_step(step, None, timeout_s)
    journal.append(StepStarted(step))


def settle(journal: Journal, end: StepFinished | StepFailed, choice: RouteTaken | None = None) -> None:
    """The end of a step that has just begun."""
    journal.begin_step(end.step, None, None)
    journal.settle(end, ["b"], choice)


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
    start(journal)
    await asyncio.sleep(0)
    assert await kinds(stored, journal) == ["run.queued"]
    await written(stored, journal, "run.queued", "step.started")


async def test_how_a_run_goes_on_is_written_with_the_end_of_its_step(stored: Stored, journal: Journal) -> None:
    start(journal)
    journal.settle(ended(A), ["b", {"if": None}], RouteTaken("a", "b", None))
    journal.decide(StepId("join", 1), ["c"], RouteTaken("join", "c", None))
    await journal.results_durable()
    assert await kinds(stored, journal) == ["run.queued", "step.started", "step.finished", "route.taken", "route.taken"]
    steps = {
        step.node: (step.kind, step.status, step.next) for step in await stored.history.record(journal.claim.run_id)
    }
    assert steps == {"a": ("step", "succeeded", ["b", {"if": None}]), "join": ("decision", "succeeded", ["c"])}


async def test_a_step_at_work_is_recorded_with_its_first_start_and_its_deadline(
    stored: Stored, journal: Journal
) -> None:
    start(journal, timeout_s=4.0)
    await written(stored, journal, "run.queued", "step.started")
    [step] = await stored.history.steps(journal.claim.run_id)
    assert (step.status, step.start_seq, step.duration_s) == ("running", 2, None)
    assert step.deadline is not None
    assert (step.deadline - step.started_at).total_seconds() == 4.0
    assert await stored.database.value("SELECT step_deadline FROM claims") == step.deadline
    left_s = journal.begin_step(A, step._replace(deadline=step.deadline - timedelta(seconds=3)), 4.0)
    assert left_s is not None
    assert left_s <= 1
    settle(journal, ended(A))
    await journal.results_durable()
    assert await stored.database.value("SELECT step_deadline FROM claims") is None


async def test_a_step_that_ends_at_once_is_one_row_and_never_changes(stored: Stored, journal: Journal) -> None:
    start(journal)
    settle(journal, ended(A, {"x": 1}))
    await journal.results_durable()
    settle(journal, ended(A, {"x": 2}))
    with pytest.raises(CommitRefused, match="can't be changed"):
        await journal.results_durable()
    [step] = await stored.history.steps(journal.claim.run_id)
    assert step.outputs == {"x": 1}
    # Nothing of the commit that was refused is there, so that the run's end has the next number.
    await journal.finish(SUCCEEDED)
    assert await kinds(stored, journal) == ["run.queued", "step.started", "step.finished", "run.failed"]


async def test_what_is_at_work_when_the_run_ends_is_recorded_as_interrupted(stored: Stored, journal: Journal) -> None:
    start(journal)
    await written(stored, journal, "run.queued", "step.started")
    start(journal, B)
    await journal.finish(RunFinished("cancelled", 1.0, {}))
    steps = await stored.history.steps(journal.claim.run_id)
    assert [(step.node, step.status) for step in steps] == [("a", "interrupted"), ("b", "interrupted")]
    assert all(step.duration_s is not None for step in steps)


async def test_a_step_waits_for_its_next_try_until_it_has_ended(stored: Stored, journal: Journal) -> None:
    start(journal)
    journal.append(RetryScheduled(A, 2, 100.0, Failure("provider_error", "down", "a")))
    await written(stored, journal, "run.queued", "step.started", "step.retrying")
    [step] = await stored.history.steps(journal.claim.run_id)
    assert step.wake_at is not None
    journal.settle(ended(A), ["b"], None)
    await journal.results_durable()
    [step] = await stored.history.steps(journal.claim.run_id)
    assert (step.status, step.tries, step.wake_at) == ("succeeded", 2, None)


async def test_what_was_interrupted_was_at_work_since_it_last_began(stored: Stored, journal: Journal) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    earlier = Step(node="a", visit=1, status="interrupted", seq=1, started_at=long_ago)
    journal.begin_step(A, earlier, None)
    journal.append(StepStarted(A))
    await journal.finish(RunFinished("cancelled", 1.0, {}))
    [step] = await stored.history.steps(journal.claim.run_id)
    assert step.started_at == long_ago
    assert step.duration_s is not None
    assert step.duration_s < 60


async def test_the_step_that_fails_a_run_is_written_with_the_end_of_the_run(stored: Stored, journal: Journal) -> None:
    failure = Failure("provider_error", "down", "a")
    start(journal)
    settle(journal, StepFailed(A, 0.5, failure, "fail"))
    await asyncio.sleep(EVENT_DELAY * 1.5)  # the time after which anything else would be written
    assert await kinds(stored, journal) == ["run.queued"]
    await journal.finish(RunFinished("failed", 1.0, {}, failure))
    rows = await stored.database.value("SELECT count(*) FROM events")
    assert (rows, await kinds(stored, journal)) == (1, ["run.queued", "step.started", "step.failed", "run.failed"])


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


async def test_events_of_a_run_of_the_release_before_are_stored_as_its_executors_read_them(
    stored: Stored, attempts: Attempts
) -> None:
    await stored.run()
    one = attempts.executor(WireModel())
    journal = one.journal(replace(await one.take(), engine=0))
    start(journal)
    await journal.begin_call(CALL, None)
    journal.append(ModelCalled(A, "openai", "m", 0.5, None, 1, 1, None, None))
    journal.settle(ended(A, {"x": 1}), ["b"], None)
    await journal.results_durable()
    text = await stored.database.value("SELECT entries::text FROM events WHERE run_id = $1", journal.claim.run_id)
    assert all(name in text for name in ('"model.called"', '"provider":"openai"', '"outputs":{"x":1}'))


async def test_nobody_is_told_of_what_is_not_on_disk(stored: Stored, attempts: Attempts) -> None:
    await attempts.submit(document("a"))
    one = attempts.executor(WireModel())
    one.committing.cancel()
    journal = one.journal(await one.take())
    start(journal)
    await asyncio.sleep(EVENT_DELAY * 1.5)  # the time after which it would be written
    assert one.announced == []
    one.committing = asyncio.create_task(one.committer.run())
    await journal.writer.stop()
    assert [entry.type for entry in one.announced] == ["step.started"]


async def test_settled_means_on_disk(stored: Stored, journal: Journal) -> None:
    for number in range(1, 6):
        settle(journal, ended(StepId("a", number)))
        await journal.results_durable()
        assert len(await stored.history.steps(journal.claim.run_id)) == number


async def test_what_has_ended_when_the_run_is_given_back_is_kept(stored: Stored, journal: Journal) -> None:
    settle(journal, ended(A))
    await journal.hand_back(RunQueued("drained"), None)
    assert await kinds(stored, journal) == ["run.queued", "step.finished", "run.queued"]
    assert [step.node for step in await stored.history.steps(journal.claim.run_id)] == ["a"]


async def test_every_kind_of_event_gets_into_its_tables(stored: Stored, journal: Journal) -> None:
    failure = Failure("provider_error", "down", "a")
    call = ModelCalled(A, "openai", "m", 0.5, 0.1, 10, None, 3, None, failure, None)
    start(journal)
    journal.append(Token(A, "never stored"))
    await journal.begin_call(CALL, None)
    journal.append(call)
    settle(journal, StepFailed(A, 0.5, failure, "continue"))
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
    start(journal)
    await written(stored, journal, "run.queued", "step.started")
    with pytest.raises(CommitRefused):
        settle(journal, ended(A, outputs))
    start(journal, B)
    await journal.finish(SUCCEEDED)
    told = await kinds(stored, journal)
    assert (told[:2], told[-1]) == (["run.queued", "step.started"], "run.failed")
    run = await stored.runs.get(journal.claim.run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "commit_refused")
    assert (await stored.counts())["claims"] == 0


async def test_what_postgres_refuses_fails_the_run_and_leaves_no_gap(stored: Stored, journal: Journal) -> None:
    start(journal)
    await written(stored, journal, "run.queued", "step.started")
    await journal.begin_call(CALL, None)
    journal.append(ModelCalled(A, "openai", "m", 0.5, None, 2**40, 1, None, None, None, None))
    settle(journal, ended(A))
    with pytest.raises(CommitRefused):
        await journal.results_durable()
    start(journal, B)
    await journal.finish(SUCCEEDED)
    assert await kinds(stored, journal) == ["run.queued", "step.started", "run.failed"]
    run = await stored.runs.get(journal.claim.run_id)
    assert (run.status, run.error and run.error.code, run.last_seq) == ("failed", "commit_refused", 3)
    # The ledger's line is lost with it, and the run can be retried.
    await stored.moves.retry(journal.claim.run_id)


async def test_an_end_waits_for_the_commit_that_is_under_way(stored: Stored, journal: Journal) -> None:
    """And is no success if Postgres refuses that one."""
    await journal.begin_call(CALL, None)
    journal.append(ModelCalled(A, "openai", "m", 0.5, None, 2**40, 1, None, None, None, None))
    journal.writer.commit_within(0)
    await eventually(lambda: journal.writer._is_writing, pause_s=0)
    await journal.finish(SUCCEEDED)
    assert await kinds(stored, journal) == ["run.queued", "run.failed"]


async def test_outputs_that_can_not_be_stored_fail_the_run(stored: Stored, journal: Journal) -> None:
    settle(journal, ended(A))
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
    settle(journal, ended(A))
    with pytest.raises(ClaimLost):
        await journal.results_durable()
    with pytest.raises(ClaimLost):
        await journal.finish(SUCCEEDED)
    with pytest.raises(ClaimLost):
        await journal.hand_back(RunQueued("drained"), None)
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
    start(journal)
    await journal.finish(SUCCEEDED)
    entries = (await stored.entries(journal.claim.run_id))[1:]
    assert all(before <= entry.at <= datetime.now(UTC) for entry in entries)
