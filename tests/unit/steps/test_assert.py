"""Assert nodes: when they fail a run, what they say then, and what is refused before a run."""

from __future__ import annotations

import pytest

from flowyard.language.load import load_text
from flowyard.runs.events import StepFailed
from support.workflows import document, run

FIELDS = "score: {type: float, required: true}\ntopic: {type: str, default: rain}"


def assert_document(rest: str) -> str:
    edges = "- {from: START, to: check}\n- {from: check, to: a}\n- {from: a, to: END}"
    return document("a", edges, fields=FIELDS, nodes=f"- {{id: check, {rest}}}")


async def test_a_run_goes_on_if_the_condition_holds() -> None:
    outcome = await run(assert_document("assert: score > 0.8"), {"score": 0.9})
    assert (outcome.result.status, outcome.path) == ("succeeded", ["check", "a"])


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("assert: score > 0.8", "'score > 0.8' doesn't hold"),
        ('assert: score > 0.8, message: "{topic}: {score} is too low"', "rain: 0.5 is too low"),
    ],
)
async def test_a_run_fails_with_the_message_if_it_does_not_hold(rest: str, message: str) -> None:
    outcome = await run(assert_document(rest), {"score": 0.5})
    error = outcome.result.error
    assert error is not None
    assert (outcome.result.status, error.code, error.message, error.node) == (
        "failed",
        "assertion_failed",
        message,
        "check",
    )
    assert outcome.path == ["check"]


async def test_on_error_decides_how_a_failed_assertion_goes_on() -> None:
    outcome = await run(assert_document("assert: score > 0.8, on_error: continue"), {"score": 0.5})
    assert (outcome.result.status, outcome.path) == ("succeeded", ["check", "a"])
    assert [event.handled for event in outcome.of(StepFailed)] == ["continue"]


async def test_an_assertion_is_not_retried() -> None:
    outcome = await run(assert_document("assert: score > 0.8, retry: 3"), {"score": 0.5})
    assert (outcome.path, outcome.sleeps) == (["check"], [])


@pytest.mark.parametrize(
    ("rest", "code", "message"),
    [
        ("assert: score", "expression-type", "'score' is float, not true or false"),
        ("assert: scor > 1", "unknown-field", "no field 'scor'"),
        ("assert: score > 1, prompt: hi", "two-kinds", "node 'check' has two kinds of work: 'prompt' and 'assert'"),
        ("assert: score > 1, llm: {provider: local}", "wrong-kind", "'llm' has no meaning in a node with 'assert'"),
        ("assert: score > 1, outputs: [topic]", "wrong-kind", "'outputs' has no meaning in a node with 'assert'"),
        ('assert: score > 1, message: "{topik}"', "unknown-field", "no field 'topik'"),
    ],
)
def test_what_is_wrong_with_an_assert_node_is_reported(rest: str, code: str, message: str) -> None:
    problems = load_text(assert_document(rest), "assert.yaml").errors
    assert (code, message) in [(problem.code, problem.message) for problem in problems]


def test_a_map_cannot_collect_from_an_assert_node() -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: all, target_node: check, collect_field: all}}
        - {from: check, to: END}
        """,
        fields="all: {type: 'list[str]', required: true}",
        nodes="- {id: check, assert: item != ''}",
    )
    assert [problem.code for problem in load_text(text, "assert.yaml").errors] == ["map-target"]


def test_a_test_gives_no_replies_to_a_node_without_a_model() -> None:
    text = (
        assert_document("assert: score > 0.8") + "\ntests:\n  - {name: t, inputs: {score: 1}, replies: {check: hm}}\n"
    )
    [problem] = load_text(text, "assert.yaml").errors
    assert (problem.code, problem.message) == ("wrong-kind", "'check' calls no model, so it has no replies")
