"""What a run may cost at most: a bound, or the reason why there is none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowyard.drafts.cost import WorstCost, worst_cost
from flowyard.language.nodes import ModelSettings
from flowyard.llm.terms import FREE, Price
from support.workflows import load

HEAD = """\
flow: {name: f}
state:
  fields:
    words: {type: 'list[str]', required: true, LIMIT}
    texts: list[str]
    a: str
    b: str
    done: {type: bool, default: false}
nodes:
  - {id: first, prompt: "{a}", outputs: [a], retry: 1}
  - {id: second, prompt: "{b}", outputs: [b], retry: 0}
  - {id: each, prompt: "{item}", outputs: [texts], retry: 0}
edges:
  - {from: START, to: first}
  - {from: first, to: second}
  - {from: second, loop: {to: first, until: done, max_iterations: 3, exit_to: map}}
  - {from: map, parallel: {items_field: words, target_node: each, collect_field: texts}}
  - {from: each, to: END}
"""
DOCUMENT = (
    HEAD.replace("exit_to: map", "exit_to: pass")
    .replace("{from: map,", "{from: pass,")
    .replace("edges:", "  - {id: pass, set: {b: x}}\nedges:")
)
PAID = "config: {llm: {provider: openai, model: m, max_tokens: 100}}\n"


def cost_of(config: str, *, limit: str = "max_items: 5") -> WorstCost:
    def price(settings: ModelSettings) -> Price | None:
        if settings.model == "unknown":
            return None
        return FREE if settings.provider == "ollama" else Price(Decimal("0.001"), Decimal("0.01"))

    return worst_cost(load(DOCUMENT.replace("LIMIT", limit) + config), price)


def test_loops_maps_and_retries_multiply_calls() -> None:
    # Three turns of 2 + 1 calls, and five items.
    assert cost_of(PAID).calls == 14


def test_fallbacks_are_calls_too() -> None:
    with_fallback = PAID.replace("max_tokens: 100", "max_tokens: 100, fallbacks: [{provider: openai, model: other}]")
    assert cost_of(with_fallback).calls == 28


def test_prompts_have_no_bound_but_replies_do() -> None:
    cost = cost_of(PAID)
    assert (cost.usd, cost.replies_usd) == (None, Decimal(14))
    assert "config.budget.usd" in cost.why


def test_a_budget_is_a_bound_of_all() -> None:
    cost = cost_of(PAID.replace("}}", "}, budget: {usd: 0.5, model_calls: 3}}"))
    assert (cost.usd, cost.calls, cost.replies_usd) == (Decimal("0.5"), 3, Decimal("0.5"))


def test_a_list_without_a_limit_has_no_bound() -> None:
    cost = cost_of(PAID, limit="min_items: 1")
    assert (cost.usd, cost.calls, cost.replies_usd) == (None, None, None)
    assert "max_items" in cost.why


def test_an_unknown_price_is_not_zero() -> None:
    cost = cost_of(PAID.replace("model: m", "model: unknown"))
    assert (cost.usd, cost.replies_usd) == (None, None)
    assert "openai/unknown" in cost.why


def test_replies_without_max_tokens_have_no_bound() -> None:
    assert cost_of(PAID.replace(", max_tokens: 100", "")).replies_usd is None


@pytest.mark.parametrize("limit", ["max_items: 5", "min_items: 1"])
def test_models_of_ones_own_cost_nothing(limit: str) -> None:
    cost = cost_of("config: {llm: {provider: ollama, model: m}}\n", limit=limit)
    assert (cost.usd, cost.replies_usd, cost.why) == (Decimal(0), Decimal(0), "its models cost nothing")


def test_a_workflow_without_models_costs_nothing() -> None:
    document = "flow: {name: f}\nstate: {fields: {a: str}}\nnodes:\n  - {id: n, set: {a: x}}\n"
    assert worst_cost(load(document), lambda _: None).usd == 0
