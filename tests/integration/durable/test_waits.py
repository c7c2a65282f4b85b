"""Steps that wait for their next try, beside steps that work: the slot is given back when all that is open waits."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import pytest

from flowyard.runs.run import Step
from flowyard.storage.commits import CommitResult, RunCommit
from support.attempts import Attempts, WireModel, failing, node_of
from support.shapes import finished
from support.stored import Stored
from support.waiting import eventually
from support.wire.server import Request
from support.workflows import document

WORK: Final = ("n1", "n2", "n3", "n4")
BESIDE_WORK: Final = document(
    "s wait n1 n2 n3 n4 z",
    """
    - {from: START, to: s}
    - {from: s, to: [wait, n1]}
    - {from: n1, to: n2}
    - {from: n2, to: n3}
    - {from: n3, to: n4}
    - {from: [wait, n4], to: z}
    - {from: z, to: END}
    """,
).replace("{id: wait,", "{id: wait, retry: {max_retries: 1, initial_delay: 100, max_delay: 600},")
"""A step with a long wait, beside four steps."""
TWO_WAITS: Final = (
    document("a b z", "- {from: START, to: [a, b]}\n- {from: [a, b], to: z}\n- {from: z, to: END}")
    .replace("{id: a,", "{id: a, retry: {max_retries: 1, initial_delay: 60},")
    .replace("{id: b,", "{id: b, retry: {max_retries: 1, initial_delay: 400, max_delay: 400},")
)


async def step_of(stored: Stored, run_id: UUID, node: str) -> Step:
    [step] = [step for step in await stored.history.steps(run_id) if step.node == node]
    return step


async def wake(stored: Stored, run_id: UUID, *nodes: str) -> None:
    """The waits of these steps are over, and the run is woken."""
    update = "UPDATE steps SET wake_at = now() WHERE run_id = $1 AND node = ANY($2)"
    await stored.database.execute(update, run_id, list(nodes))
    await stored.database.execute("UPDATE runs SET wake_at = now() WHERE id = $1", run_id)
    await stored.moves.sweep()


async def test_a_run_keeps_its_slot_until_nothing_but_waits_is_left(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(BESIDE_WORK)
    model = WireModel({"wait": failing(1)})
    assert await attempts.executor(model).run() is None
    assert model.calls == {"s": 1, "wait": 1, "n1": 1, "n2": 1, "n3": 1, "n4": 1}
    run, waiting = await stored.runs.get(run_id), await step_of(stored, run_id, "wait")
    assert (run.status, waiting.status, waiting.tries) == ("waiting", "waiting", 2)
    assert (await step_of(stored, run_id, "n4")).has_ended
    await wake(stored, run_id, "wait")
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"wait": 1, "z": 1})
    assert len(await finished(stored, run_id)) == 7


async def test_a_slow_commit_between_two_steps_does_not_look_as_if_nothing_were_at_work(
    stored: Stored, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attempts.submit(BESIDE_WORK)
    model = WireModel({"wait": failing(1)})
    one = attempts.executor(model)
    original = one.committer.commit

    async def commit(commit: RunCommit) -> CommitResult:
        await asyncio.sleep(0.15)  # longer than the run looks whether something begins
        return await original(commit)

    monkeypatch.setattr(one.committer, "commit", commit)
    assert await one.run() is None
    assert [model.calls[node] for node in WORK] == [1, 1, 1, 1]


async def test_a_drain_beside_a_long_wait_lets_the_next_executor_go_on_with_what_is_ready(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(BESIDE_WORK)
    going = attempts.executor()

    async def drain(request: Request) -> str:
        await eventually(lambda: going.model.calls["wait"])
        await asyncio.sleep(0.05)  # time for the step to wait
        going.draining.set()
        return node_of(request)

    going.model.answers = {"wait": failing(1), "n2": drain}
    assert await going.run() is None
    assert going.model.calls == {"s": 1, "wait": 1, "n1": 1, "n2": 1}
    run, waiting = await stored.runs.get(run_id), await step_of(stored, run_id, "wait")
    assert (run.status, waiting.status, waiting.tries) == ("queued", "waiting", 2)
    model = WireModel()
    assert await attempts.executor(model).run() is None
    assert model.calls == {"n3": 1, "n4": 1}
    run, still = await stored.runs.get(run_id), await step_of(stored, run_id, "wait")
    assert (run.status, still.wake_at) == ("waiting", waiting.wake_at)
    assert run.wake_at is not None
    assert still.wake_at is not None
    assert abs((run.wake_at - still.wake_at).total_seconds()) < 2


async def test_a_drain_during_a_wait_hands_the_run_back_until_the_next_try(stored: Stored, attempts: Attempts) -> None:
    text = document("a").replace("{id: a,", "{id: a, retry: {max_retries: 1, initial_delay: 20},")
    run_id = await attempts.submit(text)
    going = attempts.executor(WireModel({"a": failing(1)}))
    attempt = going.start(await going.take())

    async def waits() -> bool:
        return any(entry.type == "step.retrying" for entry in await stored.entries(run_id))

    await eventually(waits)
    going.draining.set()
    assert attempt.task is not None
    await asyncio.wait_for(attempt.task, 5)
    run, step = await stored.runs.get(run_id), await step_of(stored, run_id, "a")
    assert (run.status, run.attempt, step.status, step.tries) == ("waiting", 0, "waiting", 2)
    assert run.wake_at is not None
    assert step.wake_at is not None
    assert abs((run.wake_at - step.wake_at).total_seconds()) < 2


async def test_each_of_several_waiting_steps_wakes_at_its_own_time(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(TWO_WAITS)
    assert await attempts.executor(WireModel({"a": failing(1), "b": failing(1)})).run() is None
    run, a, b = await stored.runs.get(run_id), await step_of(stored, run_id, "a"), await step_of(stored, run_id, "b")
    assert run.wake_at is not None
    assert a.wake_at is not None
    assert b.wake_at is not None
    # The run wakes for the first of them.
    assert a.wake_at < b.wake_at
    assert abs((run.wake_at - a.wake_at).total_seconds()) < 2
    await wake(stored, run_id, "a")
    model = WireModel()
    assert await attempts.executor(model).run() is None
    assert model.calls == {"a": 1}
    run, still = await stored.runs.get(run_id), await step_of(stored, run_id, "b")
    assert (still.status, still.tries, still.wake_at) == ("waiting", 2, b.wake_at)
    assert run.wake_at is not None
    assert abs((run.wake_at - b.wake_at).total_seconds()) < 2
    await wake(stored, run_id, "b")
    model = WireModel()
    assert await attempts.executor(model).run() is not None
    assert model.calls == {"b": 1, "z": 1}


async def test_a_crash_does_not_shorten_the_wait_of_another_step(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(TWO_WAITS)
    assert await attempts.executor(WireModel({"a": failing(1), "b": failing(1)})).run() is None
    b = await step_of(stored, run_id, "b")
    await wake(stored, run_id, "a")
    dying = attempts.executor(WireModel(hold={"a"}))
    dying.start(await dying.take())
    await dying.model.holding.wait()
    await dying.crash()
    await attempts.lose_executor(run_id)
    model = WireModel()
    assert await attempts.executor(model).run() is None
    assert model.calls == {"a": 1}
    assert (await step_of(stored, run_id, "b")).wake_at == b.wake_at


@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_however_an_executor_goes_a_wait_is_not_cut_short(stored: Stored, attempts: Attempts, how: str) -> None:
    """It waits beside a step that is at work, so that the run isn't handed back before."""
    run_id = await attempts.submit(BESIDE_WORK)
    going = attempts.executor(WireModel({"wait": failing(1)}, hold={"n2"}))
    attempt = going.start(await going.take())
    await going.model.holding.wait()

    async def waits() -> bool:
        steps = {step.node: step for step in await stored.history.steps(run_id)}
        return "n2" in steps and "wait" in steps and steps["wait"].wake_at is not None

    await eventually(waits)
    before = await step_of(stored, run_id, "wait")
    if how == "stop":
        attempt.stop("drained")
        assert attempt.task is not None
        await attempt.task
    else:
        await going.crash()
        await attempts.lose_executor(run_id)
    cut = await step_of(stored, run_id, "wait")
    assert (cut.status, cut.tries, cut.wake_at) == ("interrupted", 2, before.wake_at)
    model = WireModel()
    assert await attempts.executor(model).run() is None
    assert model.calls == {"n2": 1, "n3": 1, "n4": 1}
    after = await step_of(stored, run_id, "wait")
    assert (after.status, after.wake_at) == ("waiting", before.wake_at)
    await wake(stored, run_id, "wait")
    assert await attempts.executor().run() is not None
    ended = await step_of(stored, run_id, "wait")
    assert (ended.status, ended.wake_at, ended.tries) == ("succeeded", None, 2)


async def test_a_map_waits_with_its_items(stored: Stored, attempts: Attempts) -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
        - {from: work, to: END}
        """,
        fields="items: {type: 'list[int]', default: [0, 1]}\neach: str\nall: 'list[str]'",
        nodes="- {id: work, prompt: '{item}', outputs: [each], retry: {max_retries: 1, initial_delay: 100}}",
    )
    run_id = await attempts.submit(text)
    assert await attempts.executor(WireModel({"work": failing(1)})).run() is None
    steps = await stored.history.steps(run_id)
    assert [step.status for step in steps if step.kind == "map"] == ["waiting"]
    assert sorted(step.status for step in steps if step.kind == "step") == ["succeeded", "waiting"]
    await wake(stored, run_id, "work")
    result = await attempts.executor().run()
    assert result is not None
    assert result.outputs == {"all": ["work", "work"]}
    assert {step.status for step in await stored.history.steps(run_id)} == {"succeeded"}
