from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from flowyard.llm.calls import ModelCall
from flowyard.runs.entries import encoded
from flowyard.runs.events import RouteTaken
from flowyard.step_errors import ModelRefused
from support.engine import Asked, Engine, Engines, orphan, submitted
from support.shapes import CHAIN, FORK, LOOP, MAP, ROUTES, STEPS, finished
from support.stored import Stored
from support.workflows import document

LATE = RouteTaken("late", "late", None)

# ---- crashes


@pytest.mark.parametrize("text", [CHAIN, FORK, LOOP, MAP, ROUTES], ids=["chain", "fork", "loop", "map", "routes"])
async def test_wherever_it_crashes_no_finished_step_is_executed_again(
    stored: Stored, engine: Engines, text: str
) -> None:
    """A process dies at its n-th model call, for every n, and another goes on."""
    for n in range(1, STEPS[text] + 1):
        run_id = await submitted(stored, text)
        model = Asked()
        one = engine(model)

        async def answer(call: ModelCall, model: Asked = model, n: int = n, one: Engine = one) -> str:
            if model.calls.total() == n:
                await asyncio.sleep(0.005)  # time for the results of others
                one.committing.cancel()
                await asyncio.Event().wait()
            return call.node

        model.answers = dict.fromkeys(("a", "b", "c", "d", "z", "work"), answer)
        claim = await one.take()
        one.start(claim)
        await asyncio.wait([one.committing], timeout=5)
        await one.crash()
        before = {(s.node, s.visit, s.item) for s in await stored.history.steps(run_id)}
        await orphan(stored, run_id)
        again = Asked()
        result = await engine(again).run()
        assert result is not None
        assert result.status == "succeeded"
        ended = await finished(stored, run_id)
        assert len(ended) == STEPS[text]
        assert again.calls.total() == STEPS[text] - len(before)
        assert (await stored.runs.get(run_id)).outputs == result.outputs
        if text == MAP:
            assert result.outputs["all"] == ["work"] * 4


async def test_no_step_begins_before_the_results_of_those_before_it_are_on_disk(
    stored: Stored, engine: Engines
) -> None:
    seen: dict[str, set[str]] = {}

    async def look(call: ModelCall) -> str:
        rows = await stored.database.rows("SELECT node FROM steps WHERE status = 'succeeded'")
        seen[call.node] = {row["node"] for row in rows}
        return call.node

    await submitted(stored, FORK)
    await engine(Asked(dict.fromkeys("abcd", look))).run()
    assert seen.keys() == set("abcd")
    assert seen["a"] == set()
    assert "a" in seen["b"] & seen["c"]
    assert seen["d"] == {"a", "b", "c"}


async def test_a_result_and_the_checkpoint_that_knows_of_it_are_written_together_or_not_at_all(
    stored: Stored, engine: Engines
) -> None:
    """One branch is done, the other hangs: the result is in the steps and in LangGraph's writes."""
    run_id = await submitted(stored, FORK)
    model = Asked(hold={"c"})
    one = engine(model)
    one.start(await one.take())
    await model.came.wait()
    statement = """
        SELECT (SELECT count(*) FROM steps WHERE node = 'b'),
            (SELECT count(*) FROM checkpoint_writes WHERE channel = 'b'),
            (SELECT count(*) FROM events WHERE strpos(entries::text, '"step.finished",{"n":"b"') > 0)
    """
    seen = set()
    async with asyncio.timeout(5):
        while (1, 1, 1) not in seen:
            seen.add(tuple(await stored.database.row(statement) or ()))
    assert seen <= {(0, 0, 0), (1, 1, 1)}
    await one.crash()
    await orphan(stored, run_id)
    again = Asked()
    await engine(again).run()
    assert again.calls == {"c": 1, "d": 1}


async def test_a_run_that_fails_after_a_crash_tells_what_was_written_before(stored: Stored, engine: Engines) -> None:
    """One branch is done and on disk, in a superstep that isn't over; the other fails in the next life."""
    run_id = await submitted(stored, FORK)
    one = engine(Asked(hold={"c"}))
    one.start(await one.take())
    await one.model.came.wait()
    async with asyncio.timeout(5):
        while len(await stored.history.steps(run_id)) < 2:  # noqa: ASYNC110  # another process would tell no more
            await asyncio.sleep(0.01)
    await one.crash()
    await orphan(stored, run_id)

    async def fail(call: ModelCall) -> str:
        raise ModelRefused("no", provider="p", model="m")

    result = await engine(Asked({"c": fail})).run()
    assert result is not None
    assert (result.status, dict(result.outputs)) == ("failed", {"a": "a", "b": "b"})


async def test_a_result_that_was_not_written_is_not_half_there(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, CHAIN)
    model = Asked()
    one = engine(model)

    async def answer(_call: ModelCall) -> str:
        one.committing.cancel()
        return "b"

    model.answers["b"] = answer
    one.start(await one.take())
    await asyncio.wait([one.committing], timeout=5)
    await asyncio.sleep(0.02)
    await one.crash()
    assert [step.node for step in await stored.history.steps(run_id)] == ["a"]
    assert await finished(stored, run_id) == ["a#1[None]"]
    await orphan(stored, run_id)
    again = Asked()
    await engine(again).run()
    assert again.calls == {"b": 1, "c": 1}


async def test_a_stale_executor_is_told_and_changes_nothing(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, CHAIN)
    model = Asked(hold={"b"})
    stale = engine(model)
    claim = await stale.take()
    work = stale.start(claim)
    await model.came.wait()
    await orphan(stored, run_id)
    result = await engine(Asked()).run()
    assert result is not None
    before = await stored.everything()
    journal = stale.saver.journals[str(run_id)]
    journal.emit(LATE)
    async with asyncio.timeout(5):
        await stale.lost.wait()
    assert await stored.everything() == before
    assert [entry for entry in stale.announced if entry.data == encoded(LATE)[1]] == []
    work.cancel()


# ---- durability


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_whatever_the_durability_a_run_ends_with_all_its_events(
    stored: Stored, engine: Engines, durability: str
) -> None:
    run_id = await submitted(stored, document("a b c", config=f"execution: {{durability: {durability}}}"))
    counts: list[int] = []

    async def look(call: ModelCall) -> str:
        await asyncio.sleep(0.06)  # longer than an event may wait
        counts.append((await stored.counts())["events"])
        return call.node

    one = engine(Asked(dict.fromkeys("abc", look)))
    result = await one.run()
    assert result is not None
    assert await finished(stored, run_id) == ["a#1[None]", "b#1[None]", "c#1[None]"]
    assert [step.node for step in await stored.history.steps(run_id)] == ["a", "b", "c"]
    assert len(await stored.history.calls(run_id)) == 3
    assert one.announced == (await stored.entries(run_id))[1:]
    assert (counts == [1, 1, 1]) == (durability == "exit")


async def test_a_run_that_keeps_nothing_begins_anew_after_a_crash(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, document("a b c", config="execution: {durability: exit}"))
    model = Asked(hold={"c"})
    one = engine(model)
    one.start(await one.take())
    await model.came.wait()
    await one.crash()
    await orphan(stored, run_id)
    again = Asked()
    result = await engine(again).run()
    assert result is not None
    assert again.calls == {"a": 1, "b": 1, "c": 1}
    assert len(await finished(stored, run_id)) == 3


async def test_async_steps_need_not_wait_for_the_disk(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, document("a b c", config="execution: {durability: async}"))

    async def last(call: ModelCall) -> str:
        one.model.came.set()
        return call.node

    one = engine(Asked({"c": last}))
    one.committing.cancel()
    result = asyncio.create_task(one.run())
    async with asyncio.timeout(5):
        await one.model.came.wait()
    assert one.model.calls == Counter("abc")
    one.committing = asyncio.create_task(one.committer.run())
    assert (await result) is not None
    assert len(await finished(stored, run_id)) == 3
