"""Who runs after whom, and how often: edges, routes, forks, joins."""

from __future__ import annotations

from collections import Counter

import pytest

from flowyard.graph.compile import Graphs
from flowyard.runs.events import RouteTaken, RunFinished, StepFinished
from support.workflows import document, load, run


async def test_without_edges_the_nodes_run_in_order() -> None:
    outcome = await run(document("a b c"))
    assert outcome.path == ["a", "b", "c"]
    assert outcome.result.outputs == {"a": "a", "b": "b", "c": "c"}


async def test_a_run_ends_at_end_even_if_nodes_follow_elsewhere() -> None:
    text = document(
        "a b c",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "a == 'go'", to: b}, {default: END}]}
        - {from: b, to: c}
        - {from: c, to: END}
        """,
    )
    assert (await run(text)).path == ["a"]
    assert (await run(text, replies={"a": "go"})).path == ["a", "b", "c"]


async def test_the_first_route_that_holds_is_taken_and_reported() -> None:
    text = document(
        "a b c d",
        """
        - {from: START, to: a}
        - from: a
          routes: [{if: "len(a) > 100", to: b}, {if: "a == 'x'", to: c}, {if: "a == 'x'", to: d}, {default: END}]
        - {from: [b, c, d], to: END}
        """,
    )
    outcome = await run(text, replies={"a": "x"})
    assert outcome.path == ["a", "c"]
    assert outcome.of(RouteTaken) == [RouteTaken("a", "c", "a == 'x'")]
    outcome = await run(text, replies={"a": "y"})
    assert outcome.of(RouteTaken) == [RouteTaken("a", "END", None)]


async def test_a_route_can_be_chosen_before_the_first_node() -> None:
    text = document(
        "a b",
        """
        - {from: START, routes: [{if: "n > 1", to: a}, {default: b}]}
        - {from: [a, b], to: END}
        """,
        fields="n: {type: int, required: true}",
    )
    assert (await run(text, {"n": 2})).path == ["a"]
    assert (await run(text, {"n": 1})).path == ["b"]


async def test_an_error_in_a_condition_fails_the_run_and_never_falls_to_the_default() -> None:
    text = document(
        "a b",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "note.score > 1", to: b}, {default: END}]}
        - {from: b, to: END}
        """,
        fields="note: {type: any, required: true}",
    )
    outcome = await run(text, {"note": {}})
    assert outcome.result.error is not None
    assert (outcome.result.status, outcome.result.error.code) == ("failed", "expression_error")
    assert outcome.result.error.node == "a"
    assert outcome.path == ["a"]


async def test_an_error_in_the_first_condition_of_a_run_is_a_result_too() -> None:
    text = document(
        "a",
        """
        - {from: START, routes: [{if: "note.score > 1", to: a}, {default: END}]}
        - {from: a, to: END}
        """,
        fields="note: {type: any, required: true}",
    )
    outcome = await run(text, {"note": None})
    assert outcome.result.error is not None
    assert outcome.result.error.code == "expression_error"


async def test_branches_of_three_lengths_meet_once_after_the_longest() -> None:
    text = document(
        "s a b1 b2 c1 c2 c3 j z",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b1, c1]}
        - {from: b1, to: b2}
        - {from: c1, to: c2}
        - {from: c2, to: c3}
        - {from: [a, b2, c3], to: j}
        - {from: j, to: z}
        - {from: z, to: END}
        """,
    )
    outcome = await run(text)
    assert Counter(outcome.path) == Counter(["s", "a", "b1", "b2", "c1", "c2", "c3", "j", "z"])
    assert outcome.path[-2:] == ["j", "z"]


async def test_a_join_can_be_fed_by_the_fork_itself() -> None:
    text = document(
        "s a j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, j]}
        - {from: a, to: j}
        - {from: j, to: END}
        """,
    )
    assert (await run(text)).path == ["s", "a", "j"]


async def test_a_run_can_begin_in_parallel_and_join() -> None:
    text = document(
        "a b c j",
        """
        - {from: START, to: [a, b]}
        - {from: b, to: c}
        - {from: [a, c], to: j}
        - {from: j, to: END}
        """,
    )
    outcome = await run(text)
    assert outcome.path == ["a", "b", "c", "j"]


async def test_nested_diamonds_each_join_once() -> None:
    text = document(
        "s l l1 l2 lj r rj j",
        """
        - {from: START, to: s}
        - {from: s, to: [l, r]}
        - {from: l, to: [l1, l2]}
        - {from: [l1, l2], to: lj}
        - {from: r, to: rj}
        - {from: [lj, rj], to: j}
        - {from: j, to: END}
        """,
    )
    outcome = await run(text)
    assert Counter(outcome.path) == Counter(["s", "l", "l1", "l2", "lj", "r", "rj", "j"])
    assert outcome.path[-1] == "j"


async def test_diamonds_in_a_row_and_crossing_joins_run_once() -> None:
    text = document(
        "s a b j k",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: a, to: [j, k]}
        - {from: b, to: [j, k]}
        - {from: [j, k], to: END}
        """,
    )
    assert Counter((await run(text)).path) == Counter(["s", "a", "b", "j", "k"])


@pytest.mark.parametrize(("reply", "expected"), [("stop", "s a b j"), ("on", "s a b x j")])
async def test_a_join_waits_only_for_branches_that_can_still_arrive(reply: str, expected: str) -> None:
    text = document(
        "s a b x j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: a, to: j}
        - {from: b, routes: [{if: "b == 'on'", to: x}, {default: END}]}
        - {from: x, to: j}
        - {from: j, to: END}
        """,
    )
    assert (await run(text, replies={"b": reply})).path == expected.split()


async def test_a_branch_that_ends_long_after_the_join_was_reached_still_lets_it_run() -> None:
    text = document(
        "s a b1 b2 b3 j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b1]}
        - {from: a, to: j}
        - {from: b1, to: b2}
        - {from: b2, to: b3}
        - {from: b3, routes: [{if: "b3 == 'x'", to: j}, {default: END}]}
        - {from: j, to: END}
        """,
    )
    assert (await run(text)).path == ["s", "a", "b1", "b2", "b3", "j"]


async def test_a_join_that_no_branch_reaches_does_not_run() -> None:
    text = document(
        "s a b j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: a, routes: [{if: "a == 'x'", to: j}, {default: END}]}
        - {from: b, routes: [{if: "b == 'x'", to: j}, {default: END}]}
        - {from: j, to: END}
        """,
    )
    assert (await run(text)).path == ["s", "a", "b"]


async def test_routes_that_come_together_again_are_no_join_to_wait_for() -> None:
    text = document(
        "a b c d",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "a == 'b'", to: b}, {default: c}]}
        - {from: [b, c], to: d}
        - {from: d, to: END}
        """,
    )
    assert (await run(text, replies={"a": "b"})).path == ["a", "b", "d"]
    assert (await run(text)).path == ["a", "c", "d"]


async def test_parallel_branches_run_at_the_same_time_and_see_the_state_before_the_fork() -> None:
    text = document(
        "s j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: [a, b], to: j}
        - {from: j, to: END}
        """,
        fields="a: {type: str, default: old}\nb: {type: str, default: old}",
        nodes="""
        - {id: a, prompt: 'b is {b}', outputs: [a]}
        - {id: b, prompt: 'a is {a}', outputs: [b]}
        """,
    )
    outcome = await run(text, replies={"a": "new", "b": "new"})
    assert outcome.prompts_of("a") == ["b is old"]
    assert outcome.prompts_of("b") == ["a is old"]


async def test_a_node_returns_only_what_it_writes() -> None:
    outcome = await run(document("a b", fields="topic: {type: str, default: t}"))
    assert [event.outputs for event in outcome.of(StepFinished)] == [{"a": "a"}, {"b": "b"}]
    assert outcome.result.state == {"a": "a", "b": "b", "topic": "t"}


async def test_a_field_that_nobody_wrote_is_null_and_no_output() -> None:
    text = document(
        "a b c",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "a == 'b'", to: b}, {default: c}]}
        - {from: [b, c], to: d}
        - {from: d, to: END}
        """,
        fields="d: str",
        nodes="- {id: d, prompt: '[{b}]', outputs: [d]}",
    )
    outcome = await run(text)
    assert outcome.prompts_of("d") == ["[]"]
    assert outcome.result.state["b"] is None
    assert "b" not in outcome.result.outputs


@pytest.mark.parametrize("way", ["b", "fail", "END"])
async def test_a_run_hands_out_the_fields_of_its_result_and_no_others(way: str) -> None:
    text = document(
        "a b",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "a != 'END'", to: b}, {default: END}]}
        - {from: b, to: END}
        """,
        fields="topic: {type: str, default: tea}",
    )
    reply = {"error": "model_refused"} if way == "fail" else "b"
    outcome = await run(f"{text}\nresult: [topic, b]\n", replies={"a": way, "b": reply})
    assert outcome.result.status == ("failed" if way == "fail" else "succeeded")
    assert outcome.result.outputs == {"topic": "tea", "b": "b" if way == "b" else None}
    assert outcome.of(RunFinished)[0].outputs == outcome.result.outputs
    assert outcome.result.state["a"] == way


async def test_a_workflow_is_compiled_once_per_digest_and_the_least_used_is_forgotten() -> None:
    graphs = Graphs(most=2)
    first, second, third = (load(document(name)) for name in "abc")
    compiled = await graphs.get(first)
    await graphs.get(second)
    assert (await graphs.get(load(document("a")))) is compiled
    await graphs.get(third)
    assert set(graphs.kept) == {first.digest, third.digest}
