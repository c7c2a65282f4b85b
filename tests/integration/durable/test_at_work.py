"""What is recorded of steps and maps while they are at work, and of those that were cut off; and their deadlines."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from flowyard.runs.run import MapProgress, Step
from support.attempts import Attempts, MiniExecutor, WireModel, failing, held, node_of
from support.shapes import CHAIN, FORK, MAP, finished
from support.stored import Stored
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status
from support.wire.server import Request
from support.workflows import document

TIMED: Final = document("a b").replace("{id: b,", "{id: b, timeout: 100, on_error: continue,")
"""`b` has a time limit, and the run goes on without it."""


async def rows(stored: Stored, run_id: UUID) -> dict[str, Step]:
    return {str(step.id): step for step in await stored.history.steps(run_id)}


async def held_in(stored: Stored, one: MiniExecutor, run_id: UUID, *steps: str) -> dict[str, Step]:
    """Starts the run, and returns its rows once these steps are recorded as being at work."""
    one.start(await one.take())

    async def are_at_work() -> bool:
        now = await rows(stored, run_id)
        return all(step in now and now[step].status == "running" for step in steps)

    await eventually(are_at_work)
    return await rows(stored, run_id)


async def over(stored: Stored, run_id: UUID, *, seconds: int) -> None:
    """As if the deadlines of the run's steps had passed so long ago."""
    ago = f"now() - interval '{seconds} s'"
    await stored.database.execute(
        f"UPDATE steps SET deadline = {ago} WHERE run_id = $1 AND deadline IS NOT NULL", run_id
    )
    await stored.database.execute(f"UPDATE claims SET step_deadline = {ago} WHERE run_id = $1", run_id)


# ---- what was cut off


async def test_what_is_at_work_when_its_run_is_cancelled_is_interrupted(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(FORK)
    one = attempts.executor(WireModel(hold={"b", "c"}))
    before = await held_in(stored, one, run_id, "b", "c")
    await stored.moves.cancel(run_id)
    one.attempts[0].stop("cancelled")
    assert one.attempts[0].task is not None
    await one.attempts[0].task
    after = await rows(stored, run_id)
    assert {name: step.status for name, step in after.items()} == {
        "a": "succeeded",
        "b": "interrupted",
        "c": "interrupted",
    }
    assert all((after[name].duration_s or 0) > 0 for name in "bc")
    assert [after[name].started_at for name in "bc"] == [before[name].started_at for name in "bc"]


async def test_what_is_at_work_when_its_run_is_over_its_timeout_is_interrupted(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(CHAIN, timeout_s=600.0)
    one = attempts.executor(WireModel(hold={"b"}))
    claim = await one.take()
    one.parts.clock.set(claim.at + timedelta(seconds=599))
    attempt = one.start(claim)
    await eventually(lambda: attempt.task is not None and attempt.task.done())
    after = await rows(stored, run_id)
    assert {name: step.status for name, step in after.items()} == {"a": "succeeded", "b": "interrupted"}
    assert after["b"].duration_s is not None


@pytest.mark.parametrize("max_attempts", [1, 2], ids=["the run fails", "the run goes on"])
async def test_what_was_at_work_when_its_executor_was_lost_is_interrupted(
    stored: Stored, attempts: Attempts, max_attempts: int
) -> None:
    run_id = await attempts.submit(FORK, max_attempts=max_attempts)
    one = attempts.executor(WireModel({"c": failing(1)}, hold={"b"}))
    before = await held_in(stored, one, run_id, "b")
    await one.crash()
    await attempts.lose_executor(run_id)
    after = await rows(stored, run_id)
    assert (await stored.runs.get(run_id)).status == ("failed" if max_attempts == 1 else "queued")
    assert (after["a"].status, after["b"].status, after["c"].status) == ("succeeded", "interrupted", "interrupted")
    assert (after["b"].started_at, after["b"].start_seq) == (before["b"].started_at, before["b"].start_seq)


async def test_what_waits_when_its_run_is_cancelled_is_interrupted(stored: Stored, attempts: Attempts) -> None:
    text = document("a").replace("{id: a,", "{id: a, retry: {max_retries: 1, initial_delay: 100, max_delay: 600},")
    run_id = await attempts.submit(text)
    assert await attempts.executor(WireModel({"a": failing(1)})).run() is None
    await stored.moves.cancel(run_id)
    step = (await rows(stored, run_id))["a"]
    assert (step.status, step.wake_at, step.tries) == ("interrupted", None, 2)


async def test_a_map_shows_how_far_it_is_and_counts_on_after_a_crash(stored: Stored, attempts: Attempts) -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all,
            max_concurrency: 1, on_item_error: skip}}
        - {from: work, to: END}
        """,
        fields="items: {type: 'list[int]', default: [0, 1, 2, 3, 4]}\neach: str\nall: 'list[str]'",
        nodes="- {id: work, prompt: '{item}', outputs: [each], retry: 0}",
    )
    run_id = await attempts.submit(text)
    reached = asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        item = request.body["messages"][-1]["content"]
        if item == "3":
            reached.set()
            await asyncio.Event().wait()
        return Status(400) if item == "1" else item

    one = attempts.executor(WireModel({"work": answer}))
    one.start(await one.take())
    await reached.wait()

    async def progress() -> MapProgress | None:
        return next((step.progress for step in await stored.history.steps(run_id) if step.kind == "map"), None)

    async def has_counted() -> bool:
        return await progress() == MapProgress(items=5, done=2, failed=1)

    await eventually(has_counted)
    await one.crash()
    await attempts.lose_executor(run_id)
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.outputs, model.calls) == ({"all": ["0", "2", "work", "work"]}, {"work": 2})
    assert await progress() == MapProgress(items=5, done=4, failed=1)


# ---- deadlines


async def test_the_earliest_deadline_of_what_is_at_work_stands_in_the_claim(stored: Stored, attempts: Attempts) -> None:
    text = FORK.replace("{id: b,", "{id: b, timeout: 100,").replace("{id: c,", "{id: c, timeout: 50,")
    run_id, free = await attempts.submit(text), asyncio.Event()
    one = attempts.executor(WireModel({"c": held(free)}, hold={"b"}))
    steps = await held_in(stored, one, run_id, "b", "c")
    assert await stored.database.value("SELECT step_deadline FROM claims") == steps["c"].deadline
    free.set()

    async def is_that_of_the_other() -> bool:
        return bool(await stored.database.value("SELECT step_deadline = $1 FROM claims", steps["b"].deadline))

    await eventually(is_that_of_the_other)


async def test_a_deadline_is_that_of_the_first_start_under_every_claim(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(TIMED)
    first = await held_in(stored, one := attempts.executor(WireModel(hold={"b"})), run_id, "b")
    await one.crash()
    await attempts.lose_executor(run_id)
    assert await stored.database.value("SELECT step_deadline FROM claims") is None
    second = await held_in(stored, attempts.executor(WireModel(hold={"b"})), run_id, "b")
    assert (second["b"].deadline, second["b"].started_at) == (first["b"].deadline, first["b"].started_at)
    assert second["b"].deadline is not None
    assert (second["b"].deadline - first["b"].started_at).total_seconds() == pytest.approx(100)


async def test_a_step_of_an_executor_that_hangs_is_ended_by_another_without_a_call(
    stored: Stored, attempts: Attempts
) -> None:
    """The hanging executor's lease holds: it still renews it."""
    run_id = await attempts.submit(TIMED)
    hanging = attempts.executor(WireModel(hold={"b"}))
    await held_in(stored, hanging, run_id, "b")
    await over(stored, run_id, seconds=1)
    assert await stored.moves.sweep() == []
    await over(stored, run_id, seconds=10)
    assert [moved.status for moved in await stored.moves.sweep()] == ["queued"]
    assert (await rows(stored, run_id))["b"].status == "interrupted"
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, result.outputs, model.calls) == ("succeeded", {"a": "a"}, {})
    step = (await rows(stored, run_id))["b"]
    assert (step.status, step.handled, step.error and step.error.code) == ("failed", "continue", "timeout")
    failures = [entry.data["error"]["code"] for entry in await stored.entries(run_id) if entry.type == "step.failed"]
    assert failures == ["timeout"]
    before = await stored.everything()
    await hanging.crash()
    assert await stored.everything() == before


async def test_a_step_without_a_call_is_not_executed_after_its_deadline_either(
    stored: Stored, attempts: Attempts
) -> None:
    text = document("a b", fields="c: str", nodes="- {id: c, set: {c: done}, timeout: 100}", config="").replace(
        "{id: b,", "{id: b, timeout: 100, on_error: continue,"
    )
    run_id = await attempts.submit(text)
    one = attempts.executor(WireModel(hold={"b"}))
    steps = await held_in(stored, one, run_id, "b")
    await one.crash()
    await attempts.lose_executor(run_id)
    # As if `c` had begun, too.
    await stored.database.execute(
        "INSERT INTO steps (run_id, node, visit, item, kind, status, seq, tries, started_at, deadline)"
        " VALUES ($1, 'c', 1, -1, 'step', 'interrupted', $2, 1, now(), now() - interval '10 s')",
        run_id,
        steps["b"].seq,
    )
    result = await attempts.executor(WireModel()).run()
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "timeout")
    assert "c" not in (result.outputs or {})


async def test_a_wait_that_would_pass_the_deadline_fails_at_once(stored: Stored, attempts: Attempts) -> None:
    """Also under a later claim, with what is left of the time."""
    retry = "retry: {max_retries: 3, initial_delay: 60, max_delay: 60}"
    text = document("a").replace("{id: a,", f"{{id: a, timeout: 100, {retry},")
    run_id = await attempts.submit(text)
    model = WireModel({"a": failing(9)})
    assert await attempts.executor(model).run() is None
    await stored.database.execute("UPDATE steps SET wake_at = now(), deadline = now() + interval '20 s'")
    await stored.database.execute("UPDATE runs SET wake_at = now()")
    await stored.moves.sweep()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "timeout")
    assert model.calls == {"a": 2}
    assert (await rows(stored, run_id))["a"].tries == 2


async def test_a_retry_of_a_run_gives_its_steps_their_whole_time_and_all_their_tries(
    stored: Stored, attempts: Attempts
) -> None:
    text = FORK.replace("{id: b,", "{id: b, timeout: 100, retry: 0,").replace("{id: c,", "{id: c, timeout: 100,")
    run_id = await attempts.submit(text)
    model = WireModel(hold={"c"})

    async def fail(_request: Request) -> Behaviour:
        await model.holding.wait()
        return Status(500)

    model.answers = {"b": fail}
    assert await attempts.executor(model).run() is not None
    before = await rows(stored, run_id)
    assert (before["b"].status, before["c"].status) == ("failed", "interrupted")
    await over(stored, run_id, seconds=10)
    await stored.database.execute("UPDATE steps SET tries = 2 WHERE node = 'b'")
    await stored.moves.retry(run_id)
    marked = await rows(stored, run_id)
    assert {name: (step.status, step.deadline) for name, step in marked.items() if name != "a"} == {
        "b": ("retrying", None),
        "c": ("interrupted", None),
    }
    assert marked["a"] == before["a"]
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"b": 1, "c": 1, "d": 1})
    after = await rows(stored, run_id)
    assert (after["b"].tries, after["b"].error, after["b"].handled) == (1, None, None)
    assert after["b"].deadline is not None
    await finished(stored, run_id)


@pytest.mark.parametrize("how", ["retried", "lost"])
async def test_the_release_before_marks_no_step_that_is_to_be_executed_again(
    stored: Stored, attempts: Attempts, how: str
) -> None:
    """Neither in a retry, nor where its executor is lost between the end of a step and that of its run."""
    text = FORK.replace("{id: b,", "{id: b, retry: 0, timeout: 60,").replace("{id: c,", "{id: c, timeout: 60,")
    run_id = await attempts.submit(text)
    assert await attempts.executor(WireModel({"b": failing(1)}, hold={"c"})).run() is not None
    await stored.database.execute(
        "UPDATE runs SET status = 'queued', epoch = epoch + 1, attempt = 0, error = NULL, finished_at = NULL"
    )
    if how == "retried":
        await over(stored, run_id, seconds=10)
    else:
        await stored.database.execute("UPDATE runs SET engine = 0")
        await stored.database.execute(
            "INSERT INTO claims (run_id, epoch, last_seq) SELECT id, epoch, last_seq FROM runs"
        )
    deadlines = {name: step.deadline for name, step in (await rows(stored, run_id)).items()}
    again = attempts.executor(WireModel(hold={"c"}))
    again.start(await again.take())
    await again.model.holding.wait()

    async def is_at_work() -> Step | None:
        step = (await rows(stored, run_id)).get("c")
        return step if step is not None and step.status == "running" else None

    step = await eventually(is_at_work)
    assert (step.deadline == deadlines["c"]) == (how == "lost")
    await eventually(lambda: again.model.calls == {"b": 1, "c": 1})


def short_of_budget() -> str:
    """The call of `c` waits until that of `b` has ended, which leaves enough for it."""
    llm = "retry: 0, llm: {max_tokens: 1000}"
    text = document(
        "s b c0 c z",
        """
        - {from: START, to: s}
        - {from: s, to: [b, c0]}
        - {from: c0, to: c}
        - {from: [b, c], to: z}
        - {from: z, to: END}
        """,
        config="budget: {tokens: 3600}",
    )
    text = text.replace("{id: b,", f"{{id: b, {llm.replace('1000', '3000')},")
    text = text.replace("{id: c,", f"{{id: c, timeout: 100, {llm},")
    for node in ("s", "c0", "z"):
        text = text.replace(f"{{id: {node},", f"{{id: {node}, llm: {{max_tokens: 10}},")
    return text


async def waiting_for_budget(stored: Stored, attempts: Attempts) -> tuple[UUID, asyncio.Task[None], asyncio.Event]:
    """A run of which `c` waits; its attempt; what lets `b` end."""
    run_id, free = await attempts.submit(short_of_budget()), asyncio.Event()
    one = attempts.executor()

    async def after_b(request: Request) -> str:
        await eventually(lambda: one.model.calls["b"])
        return node_of(request)

    one.model.answers = {"b": held(free), "c0": after_b}
    attempt = one.start(await one.take())

    async def waits() -> bool:
        step = (await rows(stored, run_id)).get("c")
        return step is not None and step.status == "running" and step.deadline is None

    await eventually(waits)
    assert one.model.calls["c"] == 0
    assert attempt.task is not None
    return run_id, attempt.task, free


async def test_a_step_has_no_deadline_while_its_call_waits_for_what_others_leave_of_the_budget(
    stored: Stored, attempts: Attempts
) -> None:
    """So that no sweep takes its run away meanwhile."""
    run_id, attempt, free = await waiting_for_budget(stored, attempts)
    assert await stored.database.value("SELECT step_deadline FROM claims") is None
    assert (await rows(stored, run_id))["c"].left_s == pytest.approx(100, abs=20)
    free.set()
    await asyncio.wait_for(attempt, 10)
    run = await stored.runs.get(run_id)
    assert (run.status, run.error) == ("succeeded", None)
    step = (await rows(stored, run_id))["c"]
    assert step.deadline is not None
    assert step.left_s is None


@pytest.mark.parametrize("how", ["lost", "retried"])
async def test_what_was_left_of_a_step_s_time_while_its_call_waited_outlasts_its_executor(
    stored: Stored, attempts: Attempts, how: str
) -> None:
    """A retry of the run gives it the whole time again."""
    run_id, one = await attempts.submit(TIMED), attempts.executor(WireModel(hold={"b"}))
    await held_in(stored, one, run_id, "b")
    await one.crash()
    # As it stands there while a call waits.
    await stored.database.execute("UPDATE steps SET deadline = NULL, left_s = 30 WHERE node = 'b'")
    if how == "retried":
        await stored.database.execute("UPDATE runs SET max_attempts = 1")
    await attempts.lose_executor(run_id)
    if how == "retried":
        await stored.moves.retry(run_id)
        assert (await rows(stored, run_id))["b"].left_s is None
    again = (await held_in(stored, attempts.executor(WireModel(hold={"b"})), run_id, "b"))["b"]
    assert again.deadline is not None
    left_s = (again.deadline - await stored.database.value("SELECT now()")).total_seconds()
    assert left_s == pytest.approx(30 if how == "lost" else 100, abs=15)
    assert again.left_s is None


async def test_a_map_is_listed_after_its_items(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(MAP)
    await attempts.executor(WireModel()).run()
    names = [str(step.id) for step in await stored.history.steps(run_id)]
    assert names.index("work") > max(names.index(f"work[{i}]") for i in range(4))
