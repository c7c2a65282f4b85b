"""The model calls of a claimed run: in the ledger from their start, under one key per question, within the budget."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from flowyard.runs.events import StepId
from flowyard.runs.run import Spending
from flowyard.storage.lost_calls import LostCalls, UnwrittenCall
from flowyard.storage.rows import CallRow
from support.attempts import Attempts, WireModel, failing, node_of
from support.shapes import CHAIN
from support.stored import LEASE_S, Stored
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Hang, Status
from support.wire.server import Request
from support.workflows import document


async def test_the_sums_of_a_step_include_its_calls_under_earlier_claims(stored: Stored, attempts: Attempts) -> None:
    """One call has failed, one was in flight when the executor died, one has an answer."""
    text = document("a", config="execution: {max_retries: 1}").replace("{id: a,", "{id: a, retry: {initial_delay: 0},")
    run_id = await attempts.submit(text)

    async def fail_once(_request: Request) -> str | Behaviour:
        model.hold.add("a")
        return Status(500)

    model = WireModel({"a": fail_once})
    dying = attempts.executor(model)
    dying.start(await dying.take())
    await model.holding.wait()
    await eventually(lambda: stored.history.calls(run_id))
    await dying.crash()
    await attempts.lose_executor(run_id)
    assert await attempts.executor().run() is not None
    [finished_step] = [entry for entry in await stored.entries(run_id) if entry.type == "step.finished"]
    calls = await stored.history.calls(run_id)
    assert [call.error for call in calls] == ["provider_error", "executor_lost", None]
    assert [(call.part, call.status) for call in calls] == [(1, "failed"), (2, "lost"), (3, "done")]
    # The tokens of a lost call are unknown, and so is the sum.
    assert (finished_step.data["calls"], finished_step.data["tokens_in"]) == (3, None)


async def test_a_call_is_in_the_ledger_before_it_has_an_answer(stored: Stored, attempts: Attempts) -> None:
    run_id, model = await attempts.submit(CHAIN), WireModel(hold={"a"})
    one = attempts.executor(model)
    one.start(await one.take())

    [call] = await eventually(lambda: stored.database.rows("SELECT * FROM step_parts"))
    assert (call["status"], call["provider"], call["cost_usd"]) == ("running", "hosted_vllm", None)
    # Whoever asks for costs is told of calls that have ended.
    assert await stored.history.calls(run_id) == []
    assert (await stored.runs.get(run_id)).spending == Spending()
    await one.crash()


@pytest.mark.parametrize("failed_before", [False, True])
async def test_a_question_that_a_crash_leaves_open_is_asked_again_under_the_same_key(
    stored: Stored, attempts: Attempts, *, failed_before: bool
) -> None:
    text = document("a", config="execution: {max_retries: 1}").replace("{id: a,", "{id: a, retry: {initial_delay: 0},")
    run_id, keys = await attempts.submit(text), list[str]()

    async def fail(request: Request) -> Behaviour:
        keys.append(request.headers["idempotency-key"])
        return Status(500) if failed_before and len(keys) == 1 else Hang()

    dying = attempts.executor(WireModel({"a": fail}))
    dying.start(await dying.take())

    async def is_asked() -> bool:
        return [calls.spending.calls for _, calls in await stored.history.open_steps(run_id)] == [1 + failed_before]

    await eventually(is_asked)
    await dying.crash()
    await attempts.lose_executor(run_id)

    async def note(request: Request) -> str:
        keys.append(request.headers["idempotency-key"])
        return "a"

    assert await attempts.executor(WireModel({"a": note})).run() is not None
    first = f"{run_id}:a:1"
    assert keys == ([first, f"{first}+1", f"{first}+1"] if failed_before else [first, first])


# ---- calls of an executor that has lost the run


async def test_calls_of_which_nothing_was_written_before_the_claim_was_lost_are_in_the_ledger(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(document("a b", config="execution: {durability: exit}"))

    async def lose(request: Request) -> str:
        await attempts.lose_executor(run_id)
        return node_of(request)

    stale = attempts.executor(WireModel({"b": lose}))
    attempt = stale.start(await stale.take())
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    calls = await stored.history.calls(run_id)
    assert [(call.step.node, call.status, call.error) for call in calls] == [(n, "lost", "executor_lost") for n in "ab"]
    assert {(call.cost_usd, call.tokens_in, call.tokens_out) for call in calls} == {(None, None, None)}
    assert [(call.step.node, call.error and call.error.code) for call in stale.watching.lost] == [
        ("a", "executor_lost"),
        ("b", "executor_lost"),
    ]
    # The next claim's calls have the numbers that they would have without them, and so has the run its result.
    run = await attempts.executor().run()
    assert run is not None
    assert [call.part for call in await stored.history.calls(run_id)] == [1, 1, *(call.part for call in calls)]
    assert (run.status, run.outputs, run.spending.calls) == ("succeeded", {"a": "a", "b": "b"}, 4)
    assert (run.spending.tokens_in, run.spending.cost_usd) == (None, None)


async def test_a_step_counts_the_calls_of_a_claim_that_was_lost_and_goes_on_with_its_own_numbers(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(CHAIN)
    dying = attempts.executor(WireModel(hold={"a"}))
    dying.start(await dying.take())
    await eventually(lambda: stored.history.open_steps(run_id))
    await dying.crash()
    await attempts.lose_executor(run_id)
    row = CallRow(seq=1, step=StepId("a", 1), part=2, provider="openai", model="m", at=datetime.now(UTC))
    await LostCalls(stored.database).add(run_id, 1, [UnwrittenCall(row, row.at)])
    run = await attempts.executor().run()
    assert run is not None
    [finished, *_] = [entry for entry in await stored.entries(run_id) if entry.type == "step.finished"]
    assert (finished.data["calls"], finished.data["tokens_in"]) == (3, None)
    assert [call.part for call in await stored.history.calls(run_id) if call.step.node == "a"][:2] == [1, 2]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_no_call_is_made_once_the_lease_is_over_and_another_executor_has_the_run(
    stored: Stored, attempts: Attempts, durability: str
) -> None:
    """The lease is over by the executor's own clock, as after it was frozen."""
    text = document("a b", config=f"execution: {{max_retries: 1, durability: {durability}}}")
    run_id = await attempts.submit(text.replace("{id: a,", "{id: a, retry: {initial_delay: 0},"))

    async def lose(_request: Request) -> Behaviour:
        # No sweep takes a claim while it is written to.
        while (await stored.runs.get(run_id)).status == "running":
            await attempts.lose_executor(run_id)
        attempt.renewed(time.monotonic() - LEASE_S - 1)
        return Status(500)

    stale = attempts.executor(WireModel({"a": lose}))
    attempt = stale.start(await stale.take())
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    assert stale.model.calls == {"a": 1}
    assert stale.watching.is_fenced.is_set()
    assert [(call.step.node, call.status) for call in await stored.history.calls(run_id)] == [("a", "lost")]


async def test_no_call_is_made_if_the_lease_is_over_when_the_executor_learns_of_its_claim(
    stored: Stored, attempts: Attempts
) -> None:
    """As after it was frozen when Postgres had answered."""
    run_id = await attempts.submit(document("a", config="execution: {durability: exit}"))
    stale = attempts.executor(WireModel())
    claim = await stale.take()
    await attempts.lose_executor(run_id)
    attempt = stale.start(replace(claim, requested_at=claim.requested_at - LEASE_S))
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    assert stale.model.calls == {}
    assert stale.watching.is_fenced.is_set()


async def test_an_executor_whose_lease_was_renewed_meanwhile_makes_its_calls_at_once(
    stored: Stored, attempts: Attempts
) -> None:
    text = document("a", config="execution: {max_retries: 1, durability: exit}")
    run_id = await attempts.submit(text.replace("{id: a,", "{id: a, retry: {initial_delay: 0},"))
    written = list[int]()

    async def fail_once(request: Request) -> str | Behaviour:
        written.append(len(await stored.entries(run_id)))
        attempt.renewed(time.monotonic() - LEASE_S - 1)
        attempt.renewed(time.monotonic())
        return Status(500) if len(written) == 1 else node_of(request)

    going = attempts.executor(WireModel({"a": fail_once}))
    attempt = going.start(await going.take())
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    assert written == [1, 1]


# ---- budgets


@pytest.mark.parametrize("lost", [False, True])
async def test_a_claim_reads_what_was_spent_from_its_own_row(stored: Stored, attempts: Attempts, *, lost: bool) -> None:
    run_id = await attempts.submit(document("a b c", config="budget: {tokens: 100000}"))
    going = attempts.executor(WireModel(hold={"c"}))
    attempt = going.start(await going.take())
    await going.model.holding.wait()
    if lost:
        await going.crash()
        await attempts.lose_executor(run_id)
    else:
        attempt.stop("drained")
        await asyncio.wait([attempt.task] if attempt.task is not None else [])
    again = await attempts.executor().take()
    spent = await stored.history.spent(run_id)
    # The third call was cut off: it may have used all that was reserved for it.
    assert spent.model_calls == 3
    assert spent.tokens > 4
    assert again.spent == (None if lost else spent)


async def test_a_call_that_a_sweep_of_the_release_before_leaves_open_is_ended_by_the_next_claim(
    stored: Stored, attempts: Attempts
) -> None:
    text = document("a b c", config="budget: {model_calls: 3}").replace("{id: b,", "{id: b, timeout: 60,")
    run_id = await attempts.submit(text)
    dying = attempts.executor(WireModel(hold={"b"}))
    dying.start(await dying.take())
    await dying.model.holding.wait()
    await dying.crash()
    await stored.database.execute(_OLD_SWEEP, run_id)
    staying = attempts.executor()
    result = await staying.run()
    # Two calls before, and one now: a fourth doesn't fit.
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "budget_exceeded")
    assert staying.model.calls == {"b": 1}
    calls = await stored.history.calls(run_id)
    assert [(call.part, call.status) for call in calls] == [(1, "done"), (1, "lost"), (2, "done")]
    entries = await stored.entries(run_id)
    assert [entry.seq for entry in entries if entry.type == "model.called"] == [call.seq for call in calls]


async def test_a_claim_has_no_deadline_of_a_claim_before(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(document("a").replace("{id: a,", "{id: a, timeout: 60,"))
    dying = attempts.executor(WireModel(hold={"a"}))
    dying.start(await dying.take())
    deadline = "SELECT step_deadline FROM claims"
    await eventually(lambda: stored.database.value(deadline))
    await dying.crash()
    await stored.database.execute(_OLD_SWEEP, run_id)
    await attempts.executor().take()
    assert await stored.database.value(deadline) is None


_OLD_SWEEP: Final = """
WITH run AS (
    UPDATE runs SET status = 'queued', epoch = runs.epoch + 1, last_seq = claims.last_seq + 1 FROM claims
    WHERE run_id = id AND id = $1 RETURNING id, runs.epoch, runs.last_seq
),
claim AS (
    UPDATE claims c SET executor = NULL, lease_until = NULL, epoch = run.epoch, last_seq = run.last_seq
    FROM run WHERE run_id = id
)
INSERT INTO events SELECT id, last_seq, '[[0, "run.queued", {"reason": "executor_lost"}]]' FROM run
"""
"""What a sweep of the release before changes when it puts a run back into the queue."""


async def test_what_earlier_claims_spent_counts(stored: Stored, attempts: Attempts) -> None:
    """Also where the run was only handed back, so that no attempt was lost."""
    await attempts.submit(document("a b c", config="budget: {model_calls: 2}"))
    going = attempts.executor()

    async def drain(request: Request) -> str:
        going.draining.set()
        return node_of(request)

    going.model.answers = {"a": drain}
    assert await going.run() is None
    staying = attempts.executor()
    result = await staying.run()
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "budget_exceeded")
    assert staying.model.calls == {"b": 1}


async def test_a_run_that_is_woken_knows_what_it_has_spent(stored: Stored, attempts: Attempts) -> None:
    text = document("a b", config="budget: {tokens: 100000}")
    retried = text.replace("{id: b,", "{id: b, retry: {initial_delay: 600, max_delay: 600},")
    run_id = await attempts.submit(retried)
    assert await attempts.executor(WireModel({"b": failing(1)})).run() is None
    await stored.database.execute("UPDATE runs SET wake_at = now()")
    [woken] = await stored.moves.sweep()
    assert woken.entry == (await stored.entries(run_id))[-1]
    claim = await attempts.executor().take()
    assert (claim.last_seq, claim.spent) == (woken.entry.seq, await stored.history.spent(run_id))


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_a_reservation_is_on_disk_before_its_call(stored: Stored, attempts: Attempts, durability: str) -> None:
    config = f"budget: {{model_calls: 9}}\nexecution: {{durability: {durability}}}"
    run_id = await attempts.submit(document("a b", config=config))
    reserved: dict[str, list[str]] = {}

    async def look(request: Request) -> str:
        entries = await stored.entries(run_id)
        reserved[node_of(request)] = [entry.data["node"] for entry in entries if entry.type == "model.reserved"]
        return node_of(request)

    assert await attempts.executor(WireModel(dict.fromkeys("ab", look))).run() is not None
    assert reserved == {"a": ["a"], "b": ["a", "b"]}
