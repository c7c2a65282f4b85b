"""What is recorded of a run leads it to the same place again, whichever part of it is there, and in whatever order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowyard.errors.steps import ProviderError
from flowyard.graph.compile import Compiled
from flowyard.graph.run import RunResult
from flowyard.runs.events import LoopTurned, RouteTaken, StepFinished, StepId
from flowyard.runs.run import Step
from support.blocks import Block, Writer, blocks
from support.recording import Paced, Recording, play
from support.workflows import compiled, document

_SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def replies_of(writer: Writer) -> dict[str, Any]:
    failure = ProviderError("down", provider="p", model="m")
    return {node: failure if isinstance(reply, dict) else reply for node, reply in writer.replies.items()}


def decisions(steps: Mapping[StepId, Step]) -> dict[str, Any]:
    return {str(step): (s.kind, s.status, s.next, s.outputs, s.handled) for step, s in steps.items()}


def played(graph: Compiled, recording: Recording, model: Paced, *, through_seq: int | None = None) -> RunResult:
    async def in_time() -> RunResult:
        async with asyncio.timeout(20):
            return await play(graph, recording, model, through_seq=through_seq)

    return asyncio.run(in_time())


@given(blocks, st.integers(0, 2**32))
@_SETTINGS
def test_a_run_comes_to_the_same_however_long_its_steps_take_and_from_any_part_of_its_record(
    block: Block, seed: int
) -> None:
    writer = Writer()
    graph = compiled(json.dumps(writer.document(block)))
    assume(writer.expected.total() < 100)
    whole = Recording()
    result = played(graph, whole, Paced(replies_of(writer), seed))
    assert result.status == "succeeded", result.error
    random = Random(seed)
    rows = list(whole.steps.values())
    for length in sorted({0, len(rows), *random.sample(range(len(rows) + 1), min(4, len(rows)))}):
        prefix = [*rows[:length], *begun_maps(rows[:length], rows)]
        part, model = Recording({step.id: step for step in prefix}), Paced(replies_of(writer), random.randrange(2**32))
        again = played(graph, part, model, through_seq=random.choice([None, *(row.seq for row in rows[:length])]))
        assert (again.status, again.outputs, again.state) == (result.status, result.outputs, result.state)
        assert decisions(part.steps) == decisions(whole.steps)
        # What is recorded isn't executed, and no event of it is emitted, again.
        recorded = {str(step.id) for step in prefix if step.has_ended}
        assert recorded.isdisjoint(str(event.step) for event in part.events if isinstance(event, StepFinished))
        choices = [event for event in part.events if isinstance(event, RouteTaken | LoopTurned)]
        assert len(choices) == choices_in(part.steps.values()) - choices_in(prefix)


def choices_in(steps: Iterable[Step]) -> int:
    """How many of them were left by a route or a loop."""
    return sum(1 for step in steps if step.next and isinstance(step.next[-1], dict))


def begun_maps(prefix: list[Step], rows: list[Step]) -> list[Step]:
    """A map has a row as soon as its first item has one."""
    items = {(row.node, row.visit) for row in prefix if row.item is not None}
    late = [row for row in rows[len(prefix) :] if row.kind == "map" and (row.node, row.visit) in items]
    return [row._replace(status="running", next=None) for row in late]


TWO_BRANCHES = document(
    "s a b c j",
    """
    - {from: START, to: s}
    - {from: s, to: [a, b]}
    - {from: b, routes: [{if: "b == 'b'", to: c}, {default: j}]}
    - {from: [a, c], to: j}
    - {from: j, to: END}
    """,
)


async def recorded() -> dict[StepId, Step]:
    recording = Recording()
    assert (await play(compiled(TWO_BRANCHES), recording, Paced({}, 1))).status == "succeeded"
    return recording.steps


async def mismatch(steps: Mapping[StepId, Step], text: str = TWO_BRANCHES) -> str:
    """Why these steps don't fit. Nothing is executed then."""
    model = Paced({}, 1)
    recording = Recording(steps)
    result = await play(compiled(text), recording, model)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.code == "replay_mismatch"
    assert (model.calls, recording.events) == ([], [])
    return result.error.message


async def test_another_decision_than_the_recorded_one_is_a_mismatch() -> None:
    steps = await recorded()
    b = StepId("b", 1)
    message = await mismatch(steps | {b: steps[b]._replace(next=["j", {"if": None}])})
    assert "after b the run went on with ['j', {'if': None}], and now with ['c', {'if': \"b == 'b'\"}]" in message


async def test_a_recorded_decision_that_can_not_be_made_any_more_is_a_mismatch() -> None:
    text = document(
        "c",
        "- {from: START, to: a}\n- {from: a, routes: [{if: 'v.x > 1', to: c}, {default: END}]}\n- {from: c, to: END}",
        fields="v: any",
        nodes="- {id: a, prompt: go, outputs: [v]}",
    )
    recording = Recording()
    assert (await play(compiled(text), recording, Paced({"a": '{"x": 2}'}, 1))).status == "succeeded"
    a = StepId("a", 1)
    changed = recording.steps[a]._replace(outputs={"v": {}})
    assert "and now it can't: " in await mismatch(recording.steps | {a: changed}, text)


@pytest.mark.parametrize("missing", ["s", "b", "c"])
async def test_a_step_that_is_missing_in_front_of_recorded_ones_is_a_mismatch(missing: str) -> None:
    steps = await recorded()
    del steps[StepId(missing, 1)]
    assert "recorded steps aren't reached" in await mismatch(steps)


async def test_a_recorded_step_that_nothing_leads_to_is_a_mismatch() -> None:
    steps = await recorded()
    for extra in (StepId("a", 2), StepId("nobody", 1), StepId("a", 1, 0)):
        row = steps[StepId("a", 1)]._replace(node=extra.node, visit=extra.visit, item=extra.item)
        assert "1 recorded steps aren't reached" in await mismatch(steps | {extra: row})


async def test_a_map_over_other_items_than_recorded_is_a_mismatch() -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
        - {from: work, to: END}
        """,
        fields="items: {type: 'list[str]', default: [p, q]}\nall: 'list[str]'\nx: str",
        nodes="- {id: work, prompt: '{item}', outputs: [x]}",
    )
    recording = Recording()
    await play(compiled(text), recording, Paced({}, 1))
    for change in ("[p, q, r]", "[p, x]"):
        model = Paced({}, 1)
        result = await play(compiled(text.replace("[p, q]", change)), Recording(recording.steps), model)
        assert result.error is not None
        assert "began with other items" in result.error.message
        assert model.calls == []


CHOICES: Final = document(
    "a b z",
    """
    - {from: START, routes: [{if: "flag", to: a}, {default: b}]}
    - {from: a, parallel: {items_field: items, target_node: work, collect_field: all, on_item_error: collect}}
    - {from: work, loop: {to: a, until: "iterations('work') >= 2", max_iterations: 3, exit_to: z}}
    - {from: z, to: END}
    - {from: b, to: END}
    """,
    fields="flag: {type: bool, default: true}\nitems: {type: 'list[str]', default: [p, q]}\nall: list\nx: str",
    nodes="- {id: work, prompt: '{item}', outputs: [x], retry: 0}",
)
"""A START that chooses, a map, and a loop."""


async def choices() -> dict[StepId, Step]:
    recording = Recording()
    assert (await play(compiled(CHOICES), recording, Paced({}, 1))).status == "succeeded"
    return recording.steps


@pytest.mark.parametrize("missing", [StepId("START", 1), StepId("work", 1), StepId("work", 1, 1)], ids=str)
async def test_no_row_may_be_missing_in_front_of_recorded_ones(missing: StepId) -> None:
    """Neither that of a choice without work, nor that of a map, nor that of one of its items."""
    steps = await choices()
    del steps[missing]
    await mismatch(steps, CHOICES)


async def test_an_item_beyond_those_of_its_map_is_a_mismatch() -> None:
    steps = await choices()
    extra = steps[StepId("work", 1, 1)]._replace(item=2)
    assert "work[2]" in await mismatch(steps | {extra.id: extra}, CHOICES)


@pytest.mark.parametrize(
    ("place", "decided", "recorded"),
    [
        (StepId("START", 1), ["a", {"if": "flag"}], ["a", {"if": "not flag"}]),
        (StepId("work", 1), ["a", {"turn": 1, "outcome": "again"}], ["a", {"turn": 2, "outcome": "again"}]),
        (StepId("work", 2), ["z", {"turn": 2, "outcome": "done"}], ["z", {"turn": 2, "outcome": "exhausted"}]),
        (StepId("z", 1), ["END"], ["a"]),
    ],
    ids=["another condition", "another turn", "another outcome", "another place"],
)
async def test_every_fact_of_a_decision_is_compared(place: StepId, decided: list[Any], recorded: list[Any]) -> None:
    steps = await choices()
    assert steps[place].next == decided
    changed = steps[place]._replace(next=recorded)
    assert "the run went on with" in await mismatch(steps | {place: changed}, CHOICES)


async def test_steps_of_a_later_visit_than_the_recorded_ones_lead_to_are_a_mismatch() -> None:
    steps = await choices()
    late = steps[StepId("a", 2)]._replace(visit=3)
    assert "a#3" in await mismatch(steps | {late.id: late}, CHOICES)


async def test_a_replay_emits_nothing_and_reads_the_end_of_each_step_from_its_row() -> None:
    """An item that failed is collected as it did then, and a failed step leads to where it led."""
    text = document(
        "good lost rescue z",
        """
        - {from: START, to: good}
        - {from: good, parallel: {items_field: items, target_node: work, collect_field: all, on_item_error: collect}}
        - {from: work, to: lost}
        - {from: lost, to: z}
        - {from: rescue, routes: [{if: "rescue == 'rescue'", to: z}, {default: END}]}
        - {from: z, to: END}
        """,
        fields="items: {type: 'list[str]', default: [p, q]}\nall: list\nx: str",
        nodes="- {id: work, prompt: '{item}', outputs: [x], retry: 0}",
    ).replace("{id: lost,", "{id: lost, retry: 0, on_error: {goto: rescue},")
    whole, down = Recording(), ProviderError("down", provider="p", model="m")
    result = await play(compiled(text), whole, Paced({"work": down, "lost": down}, 1))
    assert result.outputs["all"] == [{"error": "provider_error", "message": "p/m: down"}] * 2
    assert "rescue" in result.outputs
    again, model = Recording(whole.steps), Paced({}, 1)
    assert await play(compiled(text), again, model) == result
    assert (again.events, model.calls) == ([], [])


async def test_what_branches_wrote_before_they_parted_is_merged_once_after_a_snapshot_too() -> None:
    edges = """
    - {from: START, to: [a, b]}
    - {from: a, to: [c, d]}
    - {from: [b, c, d], to: j}
    - {from: j, to: END}
    """
    nodes = "\n".join(f"- {{id: {name}, set: {{log: {name}}}}}" for name in "abcd")
    graph = compiled(document("j", edges, nodes=nodes, fields="log: {type: 'list[str]', reduce: append, default: []}"))
    whole = Recording()
    result = await play(graph, whole, Paced({}, 1))
    assert sorted(result.state["log"]) == ["a", "b", "c", "d"]
    for seq in [step.seq for step in whole.steps.values()]:
        taken = Recording({place: step for place, step in whole.steps.items() if step.seq <= seq})
        assert (await play(graph, taken, Paced({}, 1), through_seq=seq)).state == result.state


async def test_a_fork_of_a_run_changes_what_a_step_sees_and_not_what_was_before() -> None:
    recording = Recording()
    text = document("a", nodes="- {id: b, prompt: 'b after {a}', outputs: [b]}", fields="b: str")
    await play(compiled(text), recording, Paced({}, 1))
    taken = {StepId("a", 1): recording.steps[StepId("a", 1)]}
    result = await play(
        compiled(text), Recording(taken), Paced({}, 1), changes=lambda node, _: {"a": "other"} if node == "b" else {}
    )
    assert result.state == {"a": "other", "b": "b"}


async def beats_while(work: Awaitable[object]) -> int:
    """How many turns of the event loop other work gets meanwhile."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    beating = asyncio.create_task(beat())
    await work
    beating.cancel()
    return beats


async def test_a_long_replay_lets_other_work_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each row took long."""
    monkeypatch.setattr("flowyard.graph.walk._LONG_S", 0.0)
    turns = 100
    text = document(
        "a",
        f"""
        - {{from: START, to: a}}
        - {{from: a, loop: {{to: a, until: "iterations('a') >= {turns}", max_iterations: {turns}, exit_to: END}}}}
        """,
    )
    whole = Recording()
    await play(compiled(text), whole, Paced({}, 1))
    assert await beats_while(play(compiled(text), Recording(whole.steps), Paced({}, 1))) >= turns - 1


async def test_the_items_of_a_map_let_other_work_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each item took long: all of them begin at once."""
    monkeypatch.setattr("flowyard.graph.walk._LONG_S", 0.0)
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
        - {from: work, to: END}
        """,
        fields="items: {type: 'list[int]', required: true}\nx: int\nall: 'list[int]'",
        nodes="- {id: work, set: {x: {expr: item + 1}}}",
    )
    items = list(range(50))
    assert await beats_while(play(compiled(text), Recording(), Paced({}, 1), inputs={"items": items})) >= len(items)


async def test_a_step_stays_as_it_ended_if_the_choice_after_it_fails_the_run() -> None:
    text = document(
        "a b",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "note.score > 1", to: b}, {default: END}]}
        - {from: b, to: END}
        """,
        fields="note: {type: any, default: {}}",
    )
    recording = Recording()
    result = await play(compiled(text), recording, Paced({}, 1))
    assert (result.status, result.error and result.error.code) == ("failed", "expression_error")
    [step] = recording.steps.values()
    assert (step.status, step.next, step.outputs) == ("succeeded", None, {"a": "a"})


async def test_branches_of_different_lengths_do_not_wait_for_each_other() -> None:
    """The short branch's only step ends last: the other branch's ten steps are done by then."""
    names = " ".join(f"n{i}" for i in range(10))
    edges = "".join(f"- {{from: n{i}, to: n{i + 1}}}\n" for i in range(9))
    text = document(
        f"{names} slow j",
        f"- {{from: START, to: [n0, slow]}}\n{edges}- {{from: [n9, slow], to: j}}\n- {{from: j, to: END}}",
    )
    finished = asyncio.Event()

    class Waiting(Paced):
        async def reply(self, call: Any, on_token: Any = None) -> Any:
            if call.node == "slow":
                await finished.wait()
            reply = await super().reply(call, on_token)
            if call.node == "n9":
                finished.set()
            return reply

    async with asyncio.timeout(5):
        result = await play(compiled(text), Recording(), Waiting({}, 1))
    assert result.status == "succeeded"


async def test_a_run_that_an_older_version_recorded_goes_on_although_its_choices_are_not_recorded() -> None:
    """It has rows of steps and items alone."""
    text = document(
        "a b z",
        """
        - {from: START, routes: [{if: "flag", to: a}, {default: b}]}
        - {from: a, parallel: {items_field: items, target_node: work, collect_field: all}}
        - {from: work, to: z}
        - {from: z, to: END}
        - {from: b, to: END}
        """,
        fields="flag: {type: bool, default: true}\nitems: {type: 'list[str]', default: [p, q]}\n"
        "all: 'list[str]'\nx: str",
        nodes="- {id: work, prompt: '{item}', outputs: [x]}",
    )
    whole = Recording()
    result = await play(compiled(text), whole, Paced({}, 1))
    rows = [step._replace(next=None) for step in whole.steps.values() if step.kind == "step"]
    for length in range(len(rows) + 1):
        part, model = Recording({step.id: step for step in rows[:length]}), Paced({}, 1)
        again = await play(compiled(text), part, model, engine=0)
        assert (again.status, again.state) == ("succeeded", result.state)
        assert len(model.calls) == len(rows) - length
    assert (await play(compiled(text), Recording({rows[0].id: rows[0]}), Paced({}, 1))).status == "failed"
