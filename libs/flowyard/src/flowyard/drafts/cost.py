"""What a run of a workflow may cost at most, as far as that can be known before it. Unknown is not zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from flowyard.language.flow import Flow
from flowyard.language.nodes import ModelSettings, Node
from flowyard.language.values.possible_values import possible_of
from flowyard.language.workflow import Loop, Workflow
from flowyard.llm.own_prices import PriceTable, highest, listed_price
from flowyard.llm.terms import FREE, Price

PriceOf: TypeAlias = Callable[[ModelSettings], Price | None]
"""The highest price of a model's tokens; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCost:
    """`usd`: what a run may cost at most, in US dollars; None: that isn't bounded, or not known. `why`: in words.

    `calls`: most calls of models, with retries and fallbacks; None: not bounded. `replies_usd`: what all replies cost
    at most, without the prompts; None as for `usd`.
    """

    usd: Decimal | None
    calls: int | None
    replies_usd: Decimal | None
    why: str


def worst_cost(workflow: Workflow, prices: PriceOf) -> WorstCost:
    calls, replies = _calls(workflow), _replies_usd(workflow, prices)
    usd, why = _bound(workflow, calls, prices)
    if usd is not None:
        replies = usd if replies is None else min(replies, usd)
    return WorstCost(usd=usd, calls=calls, replies_usd=replies, why=why)


def known_prices(table: PriceTable) -> PriceOf:
    """Those of documents and of the installation, and those of LiteLLM's list."""

    def price(settings: ModelSettings) -> Price | None:
        own = table.of(settings)
        return highest(own) if own is not None else listed_price(settings)

    return price


def _bound(workflow: Workflow, calls: int | None, prices: PriceOf) -> tuple[Decimal | None, str]:
    models = [model for node in workflow.nodes.values() for model in node.models]
    if not models:
        return Decimal(0), "no node calls a model"
    if all(prices(model) == FREE for model in models):
        return Decimal(0), "its models cost nothing"
    if workflow.budget is not None and workflow.budget.usd is not None:
        return workflow.budget.usd, "a run stops before it exceeds config.budget.usd"
    unknown = next((model for model in models if prices(model) is None), None)
    if unknown is not None:
        return None, f"the price of {unknown} isn't known here"
    if calls is None:
        return None, "a map has no bound: give its list max_items, or set config.budget.usd"
    return None, "prompts can have any length: set config.budget.usd"


def _calls(workflow: Workflow) -> int | None:
    """Most calls of models in a run; None: any number."""
    given = workflow.budget.model_calls if workflow.budget is not None else None
    most = sum(steps * _calls_of_step(node) for node, steps in _steps(workflow) if node.models)
    most = min(most, math.inf if given is None else given)
    return None if math.isinf(most) else int(most)


def _replies_usd(workflow: Workflow, prices: PriceOf) -> Decimal | None:
    total = Decimal(0)
    for node, steps in _steps(workflow):
        for model in node.models:
            price = prices(model)
            if price == FREE:
                continue
            if price is None or model.max_tokens is None or math.isinf(steps):
                return None
            total += price.usd_out * model.max_tokens * int(steps) * (1 + node.retry.max_retries)
    return total.normalize()


def _calls_of_step(node: Node) -> int:
    return (1 + node.retry.max_retries) * len(node.models)


def _steps(workflow: Workflow) -> Iterator[tuple[Node, float]]:
    """Each node, with how often it is executed at most: by loops around it, and by the items of its map."""
    flow, maps = Flow(workflow.nodes, workflow.transitions), workflow.maps
    loops = {source: loop for source, loop in workflow.transitions.items() if isinstance(loop, Loop)}
    bodies = {source: flow.loop_body(source) for source in loops}
    for name, node in workflow.nodes.items():
        turns = math.prod(loop.max_iterations for source, loop in loops.items() if name in bodies[source])
        items = possible_of(workflow.fields[maps[name].items_field].type).most if name in maps else 1
        yield node, turns * items
