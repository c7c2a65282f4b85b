"""Set nodes: what they write, how writes merge, and what is refused before a run."""

from __future__ import annotations

import pytest

from flowyard.language.load import load_text
from flowyard.runs.events import ModelCalled, StepFinished
from support.workflows import document, run

FIELDS = """
topic: {type: str, required: true}
score: {type: float, default: 0.5}
items: {type: "list[str]", default: [a, b]}
"""


def set_document(values: str, fields: str) -> str:
    return document("", fields=FIELDS + fields, nodes=f"- id: fill\n  set: {values}")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ('{x: "On {topic}"}', "str", "On rain"),
        ('{x: "{items}"}', "list[str]", ["a", "b"]),
        ('{x: "{items[1]}"}', "str", "b"),
        ("{x: 3}", "int", 3),
        ("{x: 3}", "float", 3.0),
        ("{x: true}", "bool", True),
        ("{x: null}", "str | null", None),
        ("{x: {expr: len(items) + 1}}", "int", 3),
        ("{x: {expr: score >= 0.5 and topic == 'rain'}}", "bool", True),
        ('{x: {name: "{topic}", size: {expr: len(topic)}}}', "dict", {"name": "rain", "size": 4}),
        ('{x: ["{topic}", sun]}', "list[str]", ["rain", "sun"]),
    ],
)
async def test_a_set_node_writes_what_its_value_says(values: str, kind: str, expected: object) -> None:
    outcome = await run(set_document(values, f"x: {kind}"), {"topic": "rain"})
    assert outcome.result.outputs == {"x": expected}
    assert outcome.of(ModelCalled) == []
    assert [event.calls for event in outcome.of(StepFinished)] == [0]


async def test_writes_of_set_nodes_merge_as_those_of_any_node() -> None:
    text = document(
        "",
        "- {from: START, to: [left, right]}\n- {from: [left, right], to: END}",
        fields="notes: {type: 'list[str]', reduce: append}\ntotal: {type: int, reduce: add, default: 1}",
        nodes="- {id: left, set: {notes: l, total: 2}}\n- {id: right, set: {notes: r, total: 3}}",
    )
    outcome = await run(text)
    assert outcome.result.status == "succeeded"
    assert (sorted(outcome.result.outputs["notes"]), outcome.result.outputs["total"]) == (["l", "r"], 6)


async def test_a_set_node_can_count_the_turns_of_a_loop() -> None:
    text = document(
        "a",
        """
        - {from: START, to: count}
        - {from: count, to: a}
        - {from: a, loop: {to: count, until: "n == 2", max_iterations: 5}}
        """,
        fields="n: int",
        nodes="- {id: count, set: {n: {expr: iterations('a')}}}",
    )
    outcome = await run(text)
    assert outcome.path == ["count", "a"] * 3
    assert outcome.result.outputs["n"] == 2


async def test_a_map_can_run_a_set_node() -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: words, target_node: size, collect_field: sizes, item: word}}
        - {from: size, to: END}
        """,
        fields="words: {type: 'list[str]', required: true}\nsizes: list[int]",
        nodes="- {id: size, set: {sizes: {expr: len(word)}}}",
    )
    outcome = await run(text, {"words": ["a", "bb", "ccc"]})
    assert outcome.result.outputs == {"sizes": [1, 2, 3]}


async def test_a_value_that_is_not_of_its_fields_type_fails_the_step() -> None:
    outcome = await run(set_document('{x: ["{items}"]}', "x: list[str]"), {"topic": "rain"})
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.message) == (
        "expression_error",
        "x[0]: expected str, got list",
    )


@pytest.mark.parametrize(
    ("values", "kind", "problem"),
    [
        ('{x: "{topik}"}', "str", "no field 'topik'"),
        ("{y: 1}", "int", "no field 'y' in the state"),
        ('{x: "{topic}!"}', "int", "'x' is int in the state, but str here"),
        ("{x: one}", "int", "'x' is int in the state, but str here"),
        ("{x: 1.5}", "int", "x: expected int, got float 1.5"),
        ("{x: {expr: score >}}", "bool", "the expression ends too early"),
        ("{x: {expr: scor > 1}}", "bool", "no field 'scor'"),
        ("{x: {expr: score + 1}}", "str", "'x' is str in the state, but float here"),
    ],
)
def test_what_can_never_be_written_is_refused_where_it_stands(values: str, kind: str, problem: str) -> None:
    [error] = load_text(set_document(values, f"x: {kind}"), "set.yaml").errors
    assert error.message == problem
    assert error.position.line == 10


def test_a_field_that_a_set_node_reads_too_early_is_reported() -> None:
    text = document(
        "late",
        "- {from: START, to: fill}\n- {from: fill, to: late}\n- {from: late, to: END}",
        fields="x: str",
        nodes='- {id: fill, set: {x: "{late}"}}',
    )
    assert [problem.code for problem in load_text(text, "set.yaml").errors] == ["read-before-write"]


def test_no_secret_can_be_copied_into_the_state() -> None:
    fields = "token: {type: str, required: true, secret: true}\nx: str\nlong: bool"
    for values in ('{x: "{token}"}', "{long: {expr: len(token) > 3}}"):
        text = document("", fields=fields, nodes=f"- {{id: fill, set: {values}}}")
        assert [problem.code for problem in load_text(text, "set.yaml").errors] == ["secret-use"]
