"""Runs that stop between two steps and go on later: their executor goes away, or a step has long to wait."""

from __future__ import annotations

from collections import Counter
from typing import Final

from support.attempts import Attempts, WireModel, failing, node_of
from support.shapes import FORK, finished
from support.stored import Stored
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
        await stored.database.execute("UPDATE runs SET wake_at = now()")
        await stored.moves.sweep()
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
        await stored.database.execute("UPDATE runs SET wake_at = now()")
        await stored.moves.sweep()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls["b"]) == ("failed", 4)
    assert (await stored.runs.get(run_id)).status == "failed"
