from __future__ import annotations

import asyncio
import gc
from collections import Counter
from datetime import timedelta

import pytest

from flowyard.errors.steps import ModelRefused
from support.attempts import Attempts, MiniExecutor, WireModel, held, node_of
from support.shapes import CHAIN, FORK, LOOP, MAP, ROUTES, STEPS, finished
from support.stored import Stored
from support.waiting import eventually
from support.wire.server import Request
from support.workflows import document

# ---- crashes


@pytest.mark.parametrize("text", [CHAIN, FORK, LOOP, MAP, ROUTES], ids=["chain", "fork", "loop", "map", "routes"])
async def test_wherever_it_crashes_no_finished_step_is_executed_again(
    stored: Stored, attempts: Attempts, text: str
) -> None:
    """A process dies at its n-th model call, for every n, and another goes on."""
    for n in range(1, STEPS[text] + 1):
        run_id = await attempts.submit(text)
        model = WireModel()
        one = attempts.executor(model)

        async def answer(request: Request, model: WireModel = model, n: int = n, one: MiniExecutor = one) -> str:
            if model.calls.total() == n:
                await asyncio.sleep(0.005)  # time for the results of others
                one.committing.cancel()
                await asyncio.Event().wait()
            return node_of(request)

        model.answers = dict.fromkeys(("a", "b", "c", "d", "z", "work"), answer)
        claim = await one.take()
        one.start(claim)
        await asyncio.wait([one.committing], timeout=5)
        await one.crash()
        before = [step for step in await stored.history.steps(run_id) if step.kind == "step" and step.has_ended]
        await attempts.lose_executor(run_id)
        again = WireModel()
        result = await attempts.executor(again).run()
        assert result is not None
        assert result.status == "succeeded"
        ended = await finished(stored, run_id)
        assert len(ended) == STEPS[text]
        assert again.calls.total() == STEPS[text] - len(before)
        assert (await stored.runs.get(run_id)).outputs == result.outputs
        if text == MAP:
            assert (result.outputs or {})["all"] == ["work"] * 4


async def test_no_step_begins_before_the_results_of_those_before_it_are_on_disk(
    stored: Stored, attempts: Attempts
) -> None:
    seen: dict[str, set[str]] = {}

    async def look(request: Request) -> str:
        rows = await stored.database.rows("SELECT node FROM steps WHERE status = 'succeeded'")
        seen[node_of(request)] = {row["node"] for row in rows}
        return node_of(request)

    await attempts.submit(FORK)
    await attempts.executor(WireModel(dict.fromkeys("abcd", look))).run()
    assert seen.keys() == set("abcd")
    assert seen["a"] == set()
    assert "a" in seen["b"] & seen["c"]
    assert seen["d"] == {"a", "b", "c"}


async def test_a_result_and_its_event_are_written_together_or_not_at_all(stored: Stored, attempts: Attempts) -> None:
    """One branch is done, the other hangs."""
    run_id = await attempts.submit(FORK)
    model = WireModel(hold={"c"})
    one = attempts.executor(model)
    one.start(await one.take())
    await model.holding.wait()
    statement = """
        SELECT (SELECT count(*) FROM steps WHERE node = 'b' AND status = 'succeeded' AND next IS NOT NULL),
            (SELECT count(*) FROM events
                WHERE strpos(entries::text, '"n":"b"') > 0 AND strpos(entries::text, '"finished"') > 0)
    """
    seen = set()
    async with asyncio.timeout(5):
        while (1, 1) not in seen:
            seen.add(tuple(await stored.database.row(statement) or ()))
    assert seen <= {(0, 0), (1, 1)}
    await one.crash()
    await attempts.lose_executor(run_id)
    again = WireModel()
    await attempts.executor(again).run()
    assert again.calls == {"c": 1, "d": 1}


async def test_a_run_that_fails_after_a_crash_tells_what_was_written_before(stored: Stored, attempts: Attempts) -> None:
    """One branch is done and on disk; the other fails in the next life."""
    run_id = await attempts.submit(FORK)
    one = attempts.executor(WireModel(hold={"c"}))
    one.start(await one.take())
    await one.model.holding.wait()

    async def two_steps_are_written() -> bool:
        return sum(step.has_ended for step in await stored.history.steps(run_id)) == 2

    await eventually(two_steps_are_written)
    await one.crash()
    await attempts.lose_executor(run_id)

    async def fail(request: Request) -> str:
        raise ModelRefused("no", provider="p", model="m")

    result = await attempts.executor(WireModel({"c": fail})).run()
    assert result is not None
    assert (result.status, result.outputs) == ("failed", {"a": "a", "b": "b"})


async def test_a_result_that_was_not_written_is_not_half_there(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(CHAIN)
    model = WireModel()
    one = attempts.executor(model)

    async def answer(_request: Request) -> str:
        one.committing.cancel()
        return "b"

    model.answers["b"] = answer
    one.start(await one.take())
    await asyncio.wait([one.committing], timeout=5)
    await asyncio.sleep(0.02)  # the reply arrives, and can't be written
    await one.crash()
    assert [step.node for step in await stored.history.steps(run_id)] == ["a"]
    assert await finished(stored, run_id) == ["a#1[None]"]
    await attempts.lose_executor(run_id)
    again = WireModel()
    await attempts.executor(again).run()
    assert again.calls == {"b": 1, "c": 1}


async def test_a_stale_executor_is_fenced_and_changes_nothing(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(CHAIN)
    late = asyncio.Event()

    async def answer_late(_request: Request) -> str:
        await late.wait()
        return "late"

    stale = attempts.executor(WireModel({"b": answer_late}))
    attempt = stale.start(await stale.take())
    await eventually(lambda: [entry.data.get("node") for entry in stale.announced][-1:] == ["b"])
    await attempts.lose_executor(run_id)
    assert await attempts.executor().run() is not None
    before, announced = await stored.everything(), list(stale.announced)
    late.set()
    assert attempt.task is not None
    await attempt.task
    assert stale.watching.is_fenced.is_set()
    assert await stored.everything() == before
    assert stale.announced == announced


async def test_an_attempt_that_has_lost_its_claim_waits_for_no_model(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(FORK)
    late = asyncio.Event()
    stale = attempts.executor(WireModel({"b": held(late)}, hold={"c"}))
    attempt = stale.start(await stale.take())
    await stale.model.holding.wait()
    await attempts.lose_executor(run_id)
    late.set()
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    assert stale.watching.is_fenced.is_set()


async def test_an_attempt_that_is_stopped_after_its_claim_was_lost_announces_nothing(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(CHAIN)
    stale = attempts.executor(WireModel(hold={"b"}))
    attempt = stale.start(await stale.take())
    await eventually(lambda: [entry.data.get("node") for entry in stale.announced][-1:] == ["b"])
    await attempts.lose_executor(run_id)
    before, announced = await stored.everything(), list(stale.announced)
    attempt.stop("drained")
    assert attempt.task is not None
    await attempt.task
    assert stale.announced == announced
    assert await stored.everything() == before


# ---- cancellations


async def test_a_commit_that_finds_a_cancellation_stops_the_run(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(CHAIN)

    async def cancel(request: Request) -> str:
        await stored.moves.cancel(run_id)
        return node_of(request)

    result = await attempts.executor(WireModel({"a": cancel}, hold={"b"})).run()
    assert result is not None
    assert (result.status, result.outputs) == ("cancelled", {"a": "a"})


async def test_a_run_that_was_cancelled_before_its_claim_makes_no_call(stored: Stored, attempts: Attempts) -> None:
    """It was handed back while it was cancelled, and is claimed before a sweep comes."""
    model = WireModel()
    executor = attempts.executor(model)
    # Its document and its model are ready afterwards: a call would begin before the first commit.
    await attempts.submit(CHAIN)
    await executor.run()
    model.calls.clear()
    run_id = await attempts.submit(CHAIN)
    claim = await executor.take()
    await stored.moves.cancel(run_id)
    await stored.hand_back(claim)
    assert (await stored.runs.get(run_id)).status == "queued"
    result = await executor.run()
    assert result is not None
    assert (result.status, model.calls) == ("cancelled", {})


# ---- the run's own time


async def test_a_run_lasts_from_its_first_claim_to_its_end(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(CHAIN)
    dying = attempts.executor(WireModel(hold={"a"}))
    dying.start(await dying.take())
    await dying.model.holding.wait()
    await dying.crash()
    await attempts.lose_executor(run_id)
    await stored.database.execute("UPDATE runs SET started_at = started_at - interval '1 hour'")
    await attempts.executor().run()
    assert (await stored.entries(run_id))[-1].data["duration_s"] == pytest.approx(3600, abs=60)


async def test_a_run_has_only_the_time_that_is_left_since_its_claim(stored: Stored, attempts: Attempts) -> None:
    """Its executor was busy for a while after it had claimed the run."""
    run_id = await attempts.submit(CHAIN, timeout_s=600.0)
    one = attempts.executor(WireModel(hold={"b"}))
    claim = await one.take()
    one.parts.clock.set(claim.at + timedelta(seconds=599))
    attempt = one.start(claim)
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    run = await stored.runs.get(run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "run_timeout")


async def test_a_run_that_was_claimed_too_late_makes_no_call(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(CHAIN, timeout_s=600.0)
    one = attempts.executor()
    claim = await one.take()
    one.parts.clock.set(claim.at + timedelta(seconds=601))
    attempt = one.start(claim)
    assert attempt.task is not None
    await attempt.task
    run = await stored.runs.get(run_id)
    assert (run.status, run.error and run.error.code) == ("failed", "run_timeout")
    assert one.model.calls == {}


# ---- durability


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_whatever_the_durability_a_run_ends_with_all_its_events(
    stored: Stored, attempts: Attempts, durability: str
) -> None:
    run_id = await attempts.submit(document("a b c", config=f"execution: {{durability: {durability}}}"))
    counts: list[int] = []

    async def look(request: Request) -> str:
        await asyncio.sleep(0.06)  # longer than an event may wait
        counts.append((await stored.counts())["events"])
        return node_of(request)

    one = attempts.executor(WireModel(dict.fromkeys("abc", look)))
    result = await one.run()
    assert result is not None
    assert await finished(stored, run_id) == ["a#1[None]", "b#1[None]", "c#1[None]"]
    assert [step.node for step in await stored.history.steps(run_id)] == ["a", "b", "c"]
    assert len(await stored.history.calls(run_id)) == 3
    assert one.announced == (await stored.entries(run_id))[1:]
    assert (len(set(counts)) == 1) == (durability == "exit")


async def test_a_run_that_keeps_nothing_begins_anew_after_a_crash(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(document("a b c", config="execution: {durability: exit}"))
    model = WireModel(hold={"c"})
    one = attempts.executor(model)
    one.start(await one.take())
    await model.holding.wait()
    await one.crash()
    await attempts.lose_executor(run_id)
    again = WireModel()
    result = await attempts.executor(again).run()
    assert result is not None
    assert again.calls == {"a": 1, "b": 1, "c": 1}
    assert len(await finished(stored, run_id)) == 3


async def test_async_steps_need_not_wait_for_the_disk(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(document("a b c", config="execution: {durability: async}"))

    async def last(request: Request) -> str:
        one.model.holding.set()
        return node_of(request)

    one = attempts.executor(WireModel({"c": last}))
    one.committing.cancel()
    result = asyncio.create_task(one.run())
    async with asyncio.timeout(5):
        await one.model.holding.wait()
    assert one.model.calls == Counter("abc")
    one.committing = asyncio.create_task(one.committer.run())
    assert (await result) is not None
    assert len(await finished(stored, run_id)) == 3


async def test_the_result_of_the_last_step_is_written_with_the_end_of_the_run(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(CHAIN)
    assert await attempts.executor(WireModel()).run() is not None
    rows = await stored.database.rows("SELECT entries::text FROM events WHERE run_id = $1 ORDER BY seq", run_id)
    last = rows[-1]["entries"]
    assert '"finished"' in last
    assert '"succeeded"' in last


async def test_the_values_of_a_large_run_are_freed_when_it_has_ended(stored: Stored, attempts: Attempts) -> None:
    numbers = 654_321
    text = document(
        "",
        """
        - {from: START, to: [write, again]}
        - {from: [write, again], to: END}
        """,
        fields="xs: {type: list, required: true}\nys: list\nzs: list",
        nodes="- {id: write, set: {ys: '{xs}'}}\n- {id: again, set: {zs: '{xs}'}}",
    )
    await attempts.submit(text, {"xs": [1] * numbers})
    executor = attempts.executor()
    gc.collect()
    gc.disable()
    try:
        run = await executor.run()
        assert run is not None
        assert run.status == "succeeded"
        del run
        assert [kept for kept in gc.get_objects() if isinstance(kept, list) and len(kept) == numbers] == []
    finally:
        gc.enable()
