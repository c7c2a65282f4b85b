"""`reduce`: how writes of parallel branches, and of one turn after the other, come together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.graph.state import Write, after_writes
from flowyard.language.values.reducers import REDUCERS
from support.holding import LONGEST_S, held_s
from support.workflows import document, run


def _fork(kind: str, reduce: str, *, more: str = "") -> str:
    return document(
        "s",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: [a, b], to: END}
        """,
        fields=f"all: {{type: {kind!r}, reduce: {reduce}{more}}}",
        nodes="""
        - {id: a, prompt: 'a', outputs: [all]}
        - {id: b, prompt: 'b', outputs: [all]}
        """,
    )


@pytest.mark.parametrize(
    ("kind", "reduce", "a", "b", "expected"),
    [
        ("list[str]", "append", "x", "y", ["x", "y"]),
        ("list[int]", "extend", "[1, 2]", "[3]", [1, 2, 3]),
        ("dict[str, int]", "merge", '{"x": 1, "y": 1}', '{"y": 2}', {"x": 1, "y": 2}),
        ("int", "add", "1", "2", 3),
        ("float", "max", "1.5", "0.5", 1.5),
        ("float", "min", "1.5", "0.5", 0.5),
    ],
)
async def test_parallel_writes_come_together(kind: str, reduce: str, a: str, b: str, expected: Any) -> None:
    outcome = await run(_fork(kind, reduce), replies={"a": a, "b": b})
    assert outcome.result.status == "succeeded", outcome.result.error
    assert outcome.result.outputs["all"] == expected


async def test_an_input_or_a_default_is_where_a_reducer_begins() -> None:
    text = _fork("int", "add", more=", default: 10")
    assert (await run(text, replies={"a": "1", "b": "2"})).result.outputs["all"] == 13
    assert (await run(text, {"all": 100}, {"a": "1", "b": "2"})).result.outputs["all"] == 103


async def test_a_default_is_not_changed_by_the_runs_that_begin_with_it() -> None:
    text = _fork("list[str]", "append", more=", default: [zero]")
    for _ in range(2):
        outcome = await run(text, replies={"a": "x", "b": "y"})
        assert outcome.result.outputs["all"] == ["zero", "x", "y"]


async def test_a_reducer_gathers_over_the_turns_of_a_loop_and_the_condition_sees_it() -> None:
    text = document(
        "",
        "- {from: START, to: a}\n- {from: a, loop: {until: 'len(all) == 3', max_iterations: 9}}",
        fields="all: {type: 'list[str]', reduce: append}",
        nodes="- {id: a, prompt: 'so far: {all}', outputs: [all]}",
    )
    outcome = await run(text, replies={"a": ["x", "y", "z", "too many"]})
    assert outcome.result.outputs == {"all": ["x", "y", "z"]}
    assert outcome.prompts_of("a") == ["so far: []", 'so far: ["x"]', 'so far: ["x", "y"]']


async def test_a_failed_run_has_what_was_gathered_until_then() -> None:
    text = document(
        "",
        "- {from: START, to: a}\n- {from: a, loop: {until: 'len(all) == 3', max_iterations: 9}}",
        fields="all: {type: 'list[str]', reduce: append}",
        nodes="- {id: a, prompt: 'go', outputs: [all], retry: 0}",
    )
    outcome = await run(text, replies={"a": ["x", "y", {"error": "provider_error"}]})
    assert outcome.result.status == "failed"
    assert outcome.result.outputs == {"all": ["x", "y"]}


VALUES = {
    "append": st.none() | st.integers(),
    "extend": st.none() | st.lists(st.integers(), max_size=3),
    "merge": st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3),
    "add": st.none() | st.integers(),
    "max": st.none() | st.integers(),
    "min": st.none() | st.integers(),
}


@given(data=st.data(), name=st.sampled_from(list(VALUES)))
def test_many_writes_are_merged_as_if_they_came_one_by_one(data: st.DataObject, name: str) -> None:
    reducer, state = REDUCERS[name], {name: data.draw(VALUES[name] if name != "append" else st.none())}
    values = data.draw(st.lists(VALUES[name], max_size=5))
    one_by_one = state
    for value in values:
        one_by_one = {name: reducer(one_by_one[name], value)}
    assert after_writes(state, [Write({name: value}) for value in values], {name: reducer}) == one_by_one


def test_a_write_that_replaces_takes_the_place_of_all_before_it() -> None:
    writes = [Write({"x": [1]}), Write({"x": [2]}, replaces=True), Write({"x": [3]})]
    assert after_writes({"x": [0]}, writes, {"x": REDUCERS["extend"]}) == {"x": [2, 3]}


@pytest.mark.parametrize(("name", "value"), [("extend", [1] * 40_000), ("merge", {str(i): 1 for i in range(5_000)})])
def test_what_many_branches_write_is_merged_without_holding_an_event_loop(name: str, value: Any) -> None:
    writes = [Write({"x": value})] * 100
    assert held_s(lambda: after_writes({"x": None}, writes, {"x": REDUCERS[name]})) < LONGEST_S
