"""Loops: their bounds, their counts, and what may happen inside them."""

from __future__ import annotations

from collections import Counter

import pytest

from flowyard.language.load import load_text
from flowyard.runs.events import LoopTurned, StepStarted
from support.workflows import document, run

_NESTED = document(
    "a i o",
    """
    - {from: START, to: a}
    - {from: a, to: i}
    - {from: i, loop: {until: "i == 'done'", max_iterations: 3, exit_to: o}}
    - {from: o, loop: {to: a, until: "o == 'done'", max_iterations: 2}}
    """,
)


async def test_a_loop_ends_when_its_condition_holds() -> None:
    text = document("a", "- {from: START, to: a}\n- {from: a, loop: {until: \"a == 'ok'\", max_iterations: 9}}")
    outcome = await run(text, replies={"a": ["no", "no", "ok"]})
    assert outcome.path == ["a", "a", "a"]
    assert outcome.of(LoopTurned) == [
        LoopTurned("a", 1, 9, "a", "again"),
        LoopTurned("a", 2, 9, "a", "again"),
        LoopTurned("a", 3, 9, "END", "done"),
    ]
    assert [str(event.step) for event in outcome.of(StepStarted)] == ["a", "a#2", "a#3"]


@pytest.mark.parametrize("most", [1, 2, 1000])
async def test_the_body_of_a_loop_runs_at_most_max_iterations_times(most: int) -> None:
    text = document(
        "a b",
        f"""
        - {{from: START, to: a}}
        - {{from: a, loop: {{until: "a == 'ok'", max_iterations: {most}, exit_to: b}}}}
        - {{from: b, to: END}}
        """,
    )
    outcome = await run(text)
    assert outcome.path == ["a"] * most + ["b"]
    assert outcome.of(LoopTurned)[-1].outcome == "exhausted"


async def test_a_condition_field_ends_a_loop() -> None:
    text = document(
        "",
        "- {from: START, to: a}\n- {from: a, loop: {condition_field: ok, max_iterations: 5}}",
        fields="ok: bool",
        nodes="- {id: a, prompt: 'ok?', outputs: [ok]}",
    )
    assert (await run(text, replies={"a": [False, True]})).path == ["a", "a"]


async def test_two_loops_in_a_row_count_for_themselves() -> None:
    text = document(
        "a b c",
        """
        - {from: START, to: a}
        - {from: a, loop: {until: "a == 'x'", max_iterations: 2, exit_to: b}}
        - {from: b, to: c}
        - {from: c, loop: {to: b, until: "c == 'x'", max_iterations: 3}}
        """,
    )
    assert (await run(text)).path == ["a", "a", "b", "c", "b", "c", "b", "c"]


async def test_an_inner_loop_begins_again_with_each_turn_of_the_outer_one() -> None:
    outcome = await run(_NESTED)
    assert outcome.path == ["a", "i", "i", "i", "o"] * 2
    turns = [(e.node, e.turn) for e in outcome.of(LoopTurned)]
    assert turns == [("i", 1), ("i", 2), ("i", 3), ("o", 1), ("i", 1), ("i", 2), ("i", 3), ("o", 2)]


async def test_three_nested_loops_multiply() -> None:
    text = document(
        "a b c",
        """
        - {from: START, to: a}
        - {from: a, loop: {until: "a == 'x'", max_iterations: 2, exit_to: b}}
        - {from: b, loop: {to: a, until: "b == 'x'", max_iterations: 3, exit_to: c}}
        - {from: c, loop: {to: a, until: "c == 'x'", max_iterations: 4}}
        """,
    )
    assert Counter((await run(text)).path) == {"a": 24, "b": 12, "c": 4}


async def test_loops_that_overlap_stay_bounded() -> None:
    text = document(
        "a b c d",
        """
        - {from: START, to: a}
        - {from: a, to: b}
        - {from: b, to: c}
        - {from: c, loop: {to: a, until: "c == 'x'", max_iterations: 3, exit_to: d}}
        - {from: d, loop: {to: b, until: "d == 'x'", max_iterations: 3}}
        """,
    )
    assert Counter((await run(text)).path) == {"a": 7, "b": 9, "c": 9, "d": 3}


def test_a_loop_that_goes_back_over_a_fork_it_does_not_join_is_refused() -> None:
    text = document(
        "s b c0 c",
        """
        - {from: START, to: s}
        - {from: s, to: [b, c0]}
        - {from: c0, to: c}
        - {from: b, loop: {to: s, until: "b == 'x'", max_iterations: 3}}
        - {from: c, to: END}
        """,
    )
    problems = load_text(text, "test.yaml").problems
    assert [(p.code, p.message) for p in problems] == [
        ("loop-target", "the loop repeats the fork after 's', but doesn't wait for its branch 'c0'")
    ]


async def test_iterations_counts_the_turns_of_a_loop() -> None:
    text = document(
        "a b c",
        """
        - {from: START, to: a}
        - {from: a, loop: {until: "iterations('a') == 2", max_iterations: 9, exit_to: b}}
        - {from: b, routes: [{if: "_loop_iteration_a == 2", to: c}, {default: END}]}
        - {from: c, to: END}
        """,
    )
    outcome = await run(text)
    assert outcome.path == ["a", "a", "b", "c"]
    assert outcome.of(LoopTurned)[-1].outcome == "done"


async def test_a_count_of_an_inner_loop_is_no_leftover_of_the_outer_turn_before() -> None:
    """`early` leaves in the inner loop's second turn: in the outer loop's second turn not any sooner."""
    text = document(
        "a i o",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "iterations('i') >= 2", to: o}, {default: i}]}
        - {from: i, loop: {to: a, until: "i == 'x'", max_iterations: 9, exit_to: o}}
        - {from: o, loop: {to: a, until: "o == 'x'", max_iterations: 2}}
        """,
    )
    assert (await run(text)).path == ["a", "i", "a", "i", "a", "o"] * 2


async def test_a_loop_that_was_left_by_a_route_counts_from_one_in_the_next_outer_turn() -> None:
    text = document(
        "a b i o",
        """
        - {from: START, to: a}
        - {from: a, to: b}
        - {from: b, routes: [{if: "b == 'out'", to: o}, {default: i}]}
        - {from: i, loop: {to: b, until: "i == 'x'", max_iterations: 2, exit_to: o}}
        - {from: o, loop: {to: a, until: "o == 'x'", max_iterations: 2}}
        """,
    )
    outcome = await run(text, replies={"b": ["in", "out", "in", "in"]})
    assert outcome.path == ["a", "b", "i", "b", "o", "a", "b", "i", "b", "i", "o"]


async def test_a_fork_and_join_inside_a_loop_runs_the_join_once_per_turn() -> None:
    text = document(
        "s a b1 b2 j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b1]}
        - {from: b1, to: b2}
        - {from: [a, b2], to: j}
        - {from: j, loop: {to: s, until: "j == 'ok'", max_iterations: 5}}
        """,
    )
    outcome = await run(text, replies={"j": ["no", "no", "ok"]})
    assert Counter(outcome.path) == dict.fromkeys(["s", "a", "b1", "b2", "j"], 3)


async def test_a_join_waits_for_a_loop_in_one_of_its_branches() -> None:
    text = document(
        "s a b j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: b, loop: {until: "b == 'ok'", max_iterations: 4, exit_to: j}}
        - {from: a, to: j}
        - {from: j, to: END}
        """,
    )
    assert (await run(text)).path == ["s", "a", "b", "b", "b", "b", "j"]


async def test_loops_in_two_branches_count_side_by_side() -> None:
    text = document(
        "s a b j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: a, loop: {until: "a == 'ok'", max_iterations: 2, exit_to: j}}
        - {from: b, loop: {until: "b == 'ok'", max_iterations: 5, exit_to: j}}
        - {from: j, to: END}
        """,
    )
    outcome = await run(text)
    assert Counter(outcome.path) == {"s": 1, "a": 2, "b": 5, "j": 1}
    assert outcome.path[-1] == "j"


async def test_a_loop_can_lead_back_into_one_branch_of_a_finished_fork() -> None:
    text = document(
        "s a b j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: [a, b], to: j}
        - {from: j, loop: {to: b, until: "j == 'ok'", max_iterations: 3}}
        """,
    )
    assert (await run(text)).path == ["s", "a", "b", "j", "b", "j", "b", "j"]


async def test_a_route_inside_a_loop_can_leave_it() -> None:
    text = document(
        "a b z",
        """
        - {from: START, to: a}
        - {from: a, routes: [{if: "a == 'out'", to: z}, {default: b}]}
        - {from: b, loop: {to: a, until: "b == 'x'", max_iterations: 9, exit_to: z}}
        - {from: z, to: END}
        """,
    )
    assert (await run(text, replies={"a": ["in", "in", "out"]})).path == ["a", "b", "a", "b", "a", "z"]


async def test_an_error_in_the_condition_of_a_loop_fails_the_run() -> None:
    text = document(
        "a",
        "- {from: START, to: a}\n- {from: a, loop: {until: 'note.x > 1', max_iterations: 3}}",
        fields="note: {type: any, required: true}",
    )
    outcome = await run(text, {"note": {}})
    assert outcome.path == ["a"]
    assert outcome.result.error is not None
    assert outcome.result.error.code == "expression_error"
