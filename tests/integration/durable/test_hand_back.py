"""Runs that stop between two steps and go on later: their executor goes away, or a step has long to wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from support.attempts import Attempts, WireModel, failing, node_of
from support.shapes import FORK, finished
from support.stored import Stored
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Held, Status, Text
from support.wire.server import Request
from support.workflows import document

# ---- drains


async def test_who_drains_begins_no_step_and_gives_the_run_back(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(FORK)
    going = attempts.executor(WireModel())

    async def drain(request: Request) -> str:
        going.draining.set()
        return node_of(request)

    going.model.answers = {"b": drain}
    assert await going.run() is None
    assert going.announced == (await stored.entries(run_id))[1:]
    assert "d" not in going.model.calls
    run = await stored.runs.get(run_id)
    assert (run.status, run.attempt) == ("queued", 0)
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert going.model.calls + model.calls == Counter("abcd")
    kinds = [entry.type for entry in await stored.entries(run_id)]
    assert kinds.count("run.queued") == kinds.count("run.claimed") == 2
    assert len(await finished(stored, run_id)) == 4


async def test_what_has_ended_when_a_drained_run_is_given_back_is_kept(stored: Stored, attempts: Attempts) -> None:
    """One branch is done while another hasn't begun: its result isn't thrown away with the branch."""
    text = document(
        "a z",
        fields="items: {type: 'list[str]', default: [p, q, r]}\neach: str\nall: 'list[str]'",
        nodes="- {id: work, prompt: 'work on {item}', outputs: [each]}",
        edges="""
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all, max_concurrency: 1}}
        - {from: work, to: z}
        - {from: z, to: a}
        - {from: a, to: END}
        """,
    )
    run_id = await attempts.submit(text)
    going = attempts.executor(WireModel())

    async def drain(request: Request) -> str:
        going.draining.set()
        return node_of(request)

    going.model.answers = {"work": drain}
    assert await going.run() is None
    assert going.model.calls == {"work": 1}
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert model.calls == {"work": 2, "z": 1, "a": 1}
    assert len(await finished(stored, run_id)) == 5


def items(count: int, at_once: int) -> str:
    """A map, which tries each item once."""
    over = f"items_field: items, target_node: work, collect_field: all, max_concurrency: {at_once}"
    return document(
        "z",
        fields=f"items: {{type: 'list[int]', default: {list(range(count))}}}\neach: str\nall: 'list[str]'",
        nodes="- {id: work, prompt: '{item}', outputs: [each]}",
        edges=f"""
        - {{from: START, parallel: {{{over}}}}}
        - {{from: work, to: z}}
        - {{from: z, to: END}}
        """,
        config="execution: {max_retries: 0}",
    )


def item_of(request: Request) -> int:
    return int(request.body["messages"][-1]["content"])


async def test_a_drain_waits_for_a_step_that_is_at_work(stored: Stored, attempts: Attempts) -> None:
    """While others of the run would begin: its call is made once."""
    await attempts.submit(items(4, at_once=2))
    going, go = attempts.executor(), asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        if item_of(request) == 0:
            going.draining.set()
            asyncio.get_running_loop().call_later(0.3, go.set)  # time for the next item to begin
            return "done"
        return Held(Text("done"), go)

    going.model.answers = {"work": answer}
    assert await going.run() is None
    model = WireModel()
    assert await attempts.executor(model).run() is not None
    assert sorted([*going.model.prompts, *model.prompts[:-1]]) == ["0", "1", "2", "3"]


async def test_a_failure_ends_a_run_that_drains_where_it_is(stored: Stored, attempts: Attempts) -> None:
    """One item fails while all others wait for the drain: the run isn't handed back to fail elsewhere."""
    await attempts.submit(items(40, at_once=20))
    going, go = attempts.executor(), asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        if item_of(request) == 19:
            await go.wait()
            return Status(500)
        going.draining.set()
        asyncio.get_running_loop().call_later(0.5, go.set)  # time for the others to wait
        return "done"

    going.model.answers = {"work": answer}
    result = await going.run()
    assert result is not None
    assert (result.status, going.model.calls) == ("failed", {"work": 20})


async def test_a_failed_branch_ends_a_run_that_drains_where_it_is(stored: Stored, attempts: Attempts) -> None:
    """`c` fails while `d` waits for the drain: its failure comes before the end of that wait."""
    text = document(
        "a b d",
        fields="c: str",
        nodes="- {id: c, prompt: do c, outputs: [c], retry: 0}",
        edges="""
        - {from: START, to: a}
        - {from: a, to: [b, c]}
        - {from: b, to: d}
        - {from: d, to: END}
        - {from: c, to: END}
        """,
    )
    await attempts.submit(text)
    going, go = attempts.executor(), asyncio.Event()

    async def drain(_: Request) -> str:
        going.draining.set()
        asyncio.get_running_loop().call_later(0.5, go.set)  # time for `d` to wait
        return "done"

    async def fail(_: Request) -> Behaviour:
        await go.wait()
        return Status(500)

    going.model.answers = {"b": drain, "c": fail}
    result = await going.run()
    assert result is not None
    assert (result.status, going.model.calls) == ("failed", Counter("abc"))


# ---- waits


RETRYING: Final = document("a b", config="execution: {max_retries: 3}").replace(
    "{id: b,", "{id: b, retry: {max_retries: 3, initial_delay: 60, max_delay: 600},"
)


async def test_a_long_wait_gives_the_slot_back_and_remembers_how_often_it_was_tried(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(RETRYING)
    model = WireModel({"b": failing(3)})
    waits = []
    for turn in range(1, 4):
        assert await attempts.executor(model).run() is None
        run = await stored.runs.get(run_id)
        assert (run.status, run.attempt) == ("waiting", 0)
        assert await stored.claims.take("one", 1) == []
        [step] = [step for step in await stored.history.steps(run_id) if step.node == "b"]
        assert (step.status, step.tries) == ("waiting", turn + 1)
        told = (await stored.entries(run_id))[-2]
        waits.append(told.data["delay_s"])
        await attempts.time_to_wake()
    assert all(longest / 2 <= wait <= longest for wait, longest in zip(waits, (60, 120, 240), strict=True))
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"a": 1, "b": 4})
    assert [step.tries for step in await stored.history.steps(run_id)] == [1, 4]


async def test_tries_are_not_forgotten_so_that_a_step_gives_up_at_last(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(RETRYING)
    model = WireModel({"b": failing(9)})
    for _ in range(3):
        assert await attempts.executor(model).run() is None
        await attempts.time_to_wake()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls["b"]) == ("failed", 4)
    assert (await stored.runs.get(run_id)).status == "failed"


async def test_a_step_does_not_give_up_another_one_that_is_at_work(stored: Stored, attempts: Attempts) -> None:
    """It waits here for its next try, however long that takes."""
    text = FORK.replace("{id: b,", "{id: b, retry: {max_retries: 1, initial_delay: 60},")
    run_id = await attempts.submit(text)
    one = attempts.executor(WireModel({"b": failing(1)}, hold={"c"}))
    attempt = one.start(await one.take())

    async def is_retrying() -> bool:
        return "step.retrying" in [entry.type for entry in await stored.entries(run_id)]

    await eventually(is_retrying)
    await one.model.holding.wait()
    assert attempt.task is not None
    await asyncio.wait([attempt.task], timeout=0.5)  # the time in which the run would be handed back
    assert not attempt.task.done()
    assert (await stored.runs.get(run_id)).status == "running"


async def test_a_run_that_keeps_nothing_waits_where_it_is(stored: Stored, attempts: Attempts) -> None:
    text = document("a", config="execution: {durability: exit}")
    run_id = await attempts.submit(text.replace("{id: a,", "{id: a, retry: {max_retries: 1, initial_delay: 60},"))
    one = attempts.executor(WireModel({"a": failing(1)}))
    attempt = one.start(await one.take())
    await eventually(lambda: one.model.calls["a"])
    assert attempt.task is not None
    await asyncio.wait([attempt.task], timeout=0.5)  # the time in which it would be handed back
    assert not attempt.task.done()
    assert (await stored.runs.get(run_id)).status == "running"
