from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from flowyard.language.load import load_text
from flowyard.runs.lost import OpenCalls
from flowyard.runs.run import Entry

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEP = {"node": "a", "visit": 1}
RESERVED = ("model.reserved", {**STEP, "provider": "openai", "model": "small", "tokens": 9, "usd": None})
DOCUMENT = """
flow: {name: w}
state: {fields: {x: str}}
nodes: [{id: a, prompt: Go., outputs: [x]}]
config: {llm: {provider: PROVIDER, model: m}, BUDGET}
"""


def lost(*events: tuple[str, dict[str, Any]], provider: str = "openai", budget: str = "") -> list[tuple[Any, ...]]:
    opened = OpenCalls()
    for seq, (kind, data) in enumerate(events, 1):
        opened.hear(Entry(seq, AT, kind, data))
    document = DOCUMENT.replace("PROVIDER", provider).replace(", BUDGET", budget)
    workflow = load_text(document, "w.yaml").workflow
    assert workflow is not None
    found = opened.lost(workflow)
    assert bool(found) <= bool(opened)
    return [(call.step.node, call.provider, call.model, call.cost_usd) for call in found]


def test_a_call_is_open_across_the_loss_of_its_executor() -> None:
    gone = ("run.queued", {"reason": "executor_lost"})
    assert lost(("step.started", STEP), gone, ("run.started", {})) == [("a", "openai", "m", None)]


def test_what_costs_nothing_costs_nothing_when_it_is_lost() -> None:
    assert lost(("step.started", STEP), provider="ollama") == [("a", "ollama", "m", Decimal(0))]


def test_a_call_that_was_told_before_it_was_made_is_known_by_that() -> None:
    called = ("model.called", STEP)
    limited = ", budget: {tokens: 100}"
    assert lost(("step.started", STEP), RESERVED, RESERVED, called, budget=limited) == [("a", "openai", "small", None)]
    assert lost(("step.started", STEP), RESERVED, called, budget=limited) == []
    assert lost(("step.started", STEP), budget=limited) == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("model.called", STEP),
        ("step.finished", STEP),
        ("run.queued", {"reason": "drained"}),
        ("run.waiting", {"reason": "retry", "node": "a"}),
        ("run.failed", {"duration_s": 1.0}),
    ],
)
def test_what_has_ended_or_was_given_back_has_no_call_open(kind: str, why: dict[str, Any]) -> None:
    assert lost(("step.started", STEP), (kind, why), ("run.started", {})) == []
