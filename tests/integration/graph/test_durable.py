from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final
from uuid import UUID

import pytest

from flowyard.llm.calls import ModelCall
from flowyard.runs.run import Change, Fork
from flowyard.step_errors import ModelRefused, ProviderError
from support.engine import Asked, Engine, Engines, orphan, submitted
from support.stored import Stored
from support.workflows import document

CHAIN: Final = document("a b c")
FORK: Final = document(
    "a b c d",
    edges="""
    - {from: START, to: a}
    - {from: a, to: [b, c]}
    - {from: [b, c], to: d}
    - {from: d, to: END}
    """,
)
LOOP: Final = document(
    "a b c",
    edges="""
    - {from: START, to: a}
    - {from: a, to: b}
    - {from: b, loop: {to: a, until: "iterations('b') >= 3", max_iterations: 5, exit_to: c}}
    - {from: c, to: END}
    """,
)
MAP: Final = document(
    "a z",
    fields="""
    items: {type: 'list[str]', default: [p, q, r, s]}
    each: str
    all: 'list[str]'
    """,
    nodes="- {id: work, prompt: 'work on {item}', outputs: [each]}",
    edges="""
    - {from: START, to: a}
    - {from: a, parallel: {items_field: items, target_node: work, collect_field: all}}
    - {from: work, to: z}
    - {from: z, to: END}
    """,
)
ROUTES: Final = document(
    "a b c",
    edges="""
    - {from: START, to: a}
    - {from: a, routes: [{if: "a == 'a'", to: b}, {default: c}]}
    - {from: b, to: END}
    - {from: c, to: END}
    """,
)
STEPS: Final = {CHAIN: 3, FORK: 4, LOOP: 7, MAP: 6, ROUTES: 2}


def failing(times: int) -> Any:
    """Answers, of which the first ones are errors that a retry may help against."""
    asked = 0

    async def answer(call: ModelCall) -> str:
        nonlocal asked
        asked += 1
        if asked <= times:
            raise ProviderError("down", provider="p", model="m")
        return call.node

    return answer


async def finished(stored: Stored, run_id: UUID) -> list[str]:
    """The steps that have ended, in order; each once."""
    entries = await stored.entries(run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    ended = [entry.data for entry in entries if entry.type == "step.finished"]
    names = [f"{e['node']}#{e['visit']}[{e.get('item')}]" for e in ended]
    assert max(Counter(names).values(), default=1) == 1
    return names


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
    journal.note("late")
    async with asyncio.timeout(5):
        await stale.lost.wait()
    assert await stored.everything() == before
    assert [entry.type for entry in stale.announced if entry.type == "late"] == []
    work.cancel()


# ---- retry, fork, drain


async def test_a_retry_replays_what_succeeded_and_executes_the_failed_step(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, document("a b c", nodes="", config="execution: {max_retries: 0}"))
    failed = Asked({"b": failing(1)})
    result = await engine(failed).run()
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "provider_error")
    assert (await stored.counts())["checkpoints"] == 0
    await stored.moves.retry(run_id)
    again = Asked()
    result = await engine(again).run()
    assert result is not None
    assert (result.status, dict(result.outputs)) == ("succeeded", {"a": "a", "b": "b", "c": "c"})
    assert again.calls == {"b": 1, "c": 1}
    assert [(s.node, s.status) for s in await stored.history.steps(run_id)] == [(n, "succeeded") for n in "abc"]
    await finished(stored, run_id)


async def forked(stored: Stored, origin: UUID, node: str, visit: int, state: dict[str, Any]) -> UUID:
    before = await stored.history.started_at_seq(origin, node, visit)
    return await stored.run(fork=Fork(origin, node, visit, state), steps_before=before)


async def test_a_fork_takes_steps_along_and_goes_on_from_a_changed_state(stored: Stored, engine: Engines) -> None:
    text = document("a c", nodes="- {id: b, prompt: 'b after {a}', outputs: [b]}", fields="b: str").replace(
        "\n  - {id: c,", "\n  - {id: c, inputs: {seen: '{a}'},"
    )
    origin = await submitted(stored, text)
    await engine(Asked()).run()
    await forked(stored, origin, "b", 1, {"a": "changed"})
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert "a" not in model.calls
    assert "b after changed" in model.prompts


async def test_what_a_fork_changes_replaces_a_field_whose_writes_merge(stored: Stored, engine: Engines) -> None:
    text = document(
        "a",
        fields="notes: {type: 'list[str]', reduce: append, default: [start]}",
        nodes="""
        - {id: b, prompt: 'b sees {notes}', outputs: [notes]}
        - {id: c, prompt: 'c sees {notes}', outputs: [notes]}
        """,
    )
    origin = await submitted(stored, text)
    result = await engine(Asked()).run()
    assert result is not None
    assert result.outputs["notes"] == ["start", "b", "c"]
    await forked(stored, origin, "b", 1, {"notes": ["other"]})
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert result.outputs["notes"] == ["other", "b", "c"]
    assert model.calls == {"b": 1, "c": 1}


async def test_what_two_forks_in_a_row_changed_is_all_there(stored: Stored, engine: Engines) -> None:
    text = document("a b c").replace("{id: c,", "{id: c, inputs: {seen: '{a} and {b}'},")
    origin = await submitted(stored, text)
    await engine(Asked()).run()
    child = await forked(stored, origin, "b", 1, {"a": "first"})
    await engine(Asked()).run()
    earlier = (Change("b", 1, {"a": "first"}),)
    before = await stored.history.started_at_seq(child, "c", 1)
    await stored.run(fork=Fork(child, "c", 1, {"b": "second"}, earlier), steps_before=before)
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert model.calls == {"c": 1}
    assert (result.state["a"], result.state["b"]) == ("first", "second")


async def test_a_fork_can_begin_at_a_later_turn_of_a_loop(stored: Stored, engine: Engines) -> None:
    origin = await submitted(stored, LOOP)
    await engine(Asked()).run()
    fork = await forked(stored, origin, "b", 2, {})
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert result.status == "succeeded"
    assert model.calls == {"a": 1, "b": 2, "c": 1}
    assert len(await stored.history.steps(fork)) == 7


async def test_who_drains_begins_no_step_and_gives_the_run_back(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, FORK)
    going = engine(Asked())

    async def drain(call: ModelCall) -> str:
        going.draining.set()
        return call.node

    going.model.answers = {"b": drain}
    assert await going.run() is None
    assert "d" not in going.model.calls
    run = await stored.runs.get(run_id)
    assert (run.status, run.attempt) == ("queued", 0)
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert going.model.calls + model.calls == Counter("abcd")
    kinds = [entry.type for entry in await stored.entries(run_id)]
    assert kinds.count("run.queued") == kinds.count("run.started") == 2
    assert len(await finished(stored, run_id)) == 4


async def test_what_has_ended_when_a_drained_run_is_given_back_is_kept(stored: Stored, engine: Engines) -> None:
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
    run_id = await submitted(stored, text)
    going = engine(Asked())

    async def drain(call: ModelCall) -> str:
        going.draining.set()
        return call.node

    going.model.answers = {"work": drain}
    assert await going.run() is None
    assert going.model.calls == {"work": 1}
    model = Asked()
    result = await engine(model).run()
    assert result is not None
    assert model.calls == {"work": 2, "z": 1, "a": 1}
    assert len(await finished(stored, run_id)) == 5


# ---- waits


RETRYING: Final = document("a b", config="execution: {max_retries: 3}").replace(
    "{id: b,", "{id: b, retry: {max_retries: 3, initial_delay: 60, max_delay: 600},"
)


async def test_a_long_wait_gives_the_slot_back_and_remembers_how_often_it_was_tried(
    stored: Stored, engine: Engines
) -> None:
    run_id = await submitted(stored, RETRYING)
    model = Asked({"b": failing(3)})
    waits = []
    for turn in range(1, 4):
        assert await engine(model).run() is None
        run = await stored.runs.get(run_id)
        assert (run.status, run.attempt) == ("waiting", 0)
        assert await stored.claims.take("one", 1) == []
        [step] = [step for step in await stored.history.steps(run_id) if step.node == "b"]
        assert (step.status, step.tries) == ("waiting", turn + 1)
        told = (await stored.entries(run_id))[-2]
        waits.append(told.data["delay_s"])
        await stored.database.execute("UPDATE runs SET wake_at = now()")
        await stored.moves.sweep()
    assert waits == [60.0, 120.0, 240.0]
    result = await engine(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"a": 1, "b": 4})
    assert [step.tries for step in await stored.history.steps(run_id)] == [1, 4]


async def test_tries_are_not_forgotten_so_that_a_step_gives_up_at_last(stored: Stored, engine: Engines) -> None:
    run_id = await submitted(stored, RETRYING)
    model = Asked({"b": failing(9)})
    for _ in range(3):
        assert await engine(model).run() is None
        await stored.database.execute("UPDATE runs SET wake_at = now()")
        await stored.moves.sweep()
    result = await engine(model).run()
    assert result is not None
    assert (result.status, model.calls["b"]) == ("failed", 4)
    assert (await stored.runs.get(run_id)).status == "failed"


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
