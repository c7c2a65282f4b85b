"""A choice that depends on the time is the same when it is made again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from flowyard.runs.events import StepId
from support.recording import Paced, Recording, play
from support.workflows import compiled, document


@pytest.mark.parametrize(
    "edge",
    [
        "routes: [{if: CONDITION, to: b}, {default: c}]",
        "loop: {to: a, until: CONDITION, max_iterations: 1, exit_to: b}",
    ],
)
async def test_a_decision_that_depends_on_the_time_stays_the_same(edge: str) -> None:
    condition = "now() < '2026-02-01T00:00:00+00:00'"
    text = document(
        "a b c",
        f"""
        - {{from: START, to: a}}
        - {{from: a, {edge.replace("CONDITION", json.dumps(condition))}}}
        - {{from: b, to: c}}
        - {{from: c, to: END}}
        """,
    )
    first = Recording()
    await play(compiled(text), first, Paced({}, 1))
    a, b = StepId("a", 1), StepId("b", 1)
    before = first.steps[a].next
    assert before is not None
    assert before[-1]["now"] == "2026-01-01T00:00:00+00:00"
    later = Recording({a: first.steps[a]}, at=datetime(2026, 3, 1, tzinfo=UTC))
    assert (await play(compiled(text), later, Paced({}, 1))).status == "succeeded"
    assert (later.steps[a].next, b in later.steps) == (first.steps[a].next, True)
    anew = Recording(at=datetime(2026, 3, 1, tzinfo=UTC))
    await play(compiled(text), anew, Paced({}, 1))
    assert anew.steps[a].next != first.steps[a].next
