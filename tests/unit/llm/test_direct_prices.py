"""What a direct call costs is what LiteLLM would say that it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings
from flowyard.llm import litellm_prices, price_list
from flowyard.llm.calls import Usage
from flowyard.llm.direct_prices import Billing, cost_of
from flowyard.llm.providers import DIRECT, is_direct
from support.lazily import litellm

NOON_ON_A_MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def direct_models() -> list[ModelSettings]:
    """Every chat model of the price list that is called directly."""
    chat = [name for name, model in litellm.model_cost.items() if model.get("mode") in ("chat", None)]
    listed = [(str(price_list.entries()[name].get("litellm_provider")), name) for name in chat]
    models = [ModelSettings(p, name.removeprefix(f"{p}/")) for p, name in listed if p in DIRECT]
    return [model for model in models if is_direct(model, ()) and model.provider != "ollama"]


def usage_of(tokens_in: int, cached: int, reasoning: int) -> Any:
    return litellm.Usage(
        prompt_tokens=tokens_in,
        completion_tokens=500,
        total_tokens=tokens_in + 500,
        prompt_tokens_details={"cached_tokens": cached},
        completion_tokens_details={"reasoning_tokens": reasoning},
    )


@pytest.mark.parametrize(
    ("tokens_in", "cached", "tier"),
    [
        (1000, 400, None),
        (200_000, 0, None),
        (300_000, 100_000, None),
        (300_000, 100_000, "priority"),
        (1000, 9, "flex"),
    ],
)
def test_litellm_computes_the_same_for_every_model(tokens_in: int, cached: int, tier: str | None) -> None:
    models = direct_models()
    assert len(models) > 800
    now = datetime.now(UTC)
    usage = usage_of(tokens_in, cached, 100)
    others = {}
    for model in models:
        ours = cost_of(model, Usage(tokens_in, 500, cached), Billing(tier, reasoning_tokens=100), now)
        theirs = litellm_prices.cost_of(model.provider, model, usage, tier=tier)
        # Perplexity reports its costs, and LiteLLM forgets the tiers of Fireworks.
        if ours != theirs and model.provider != "perplexity" and (tier is None or model.provider != "fireworks_ai"):
            others[f"{model.provider}/{model.model}"] = (ours, theirs)
    assert others == {}


def test_what_a_provider_reports_counts() -> None:
    usage = Usage(1000, 500)
    for provider, reported in (("perplexity", {"total_cost": 0.25}), ("openrouter", 0.25), ("xai", 0.25)):
        assert cost_of(ModelSettings(provider, "m"), usage, Billing(usd=reported), NOON_ON_A_MONDAY) == Decimal("0.25")
    # Others might mean something else by it.
    assert cost_of(ModelSettings("openai", "m"), usage, Billing(usd=0.25), NOON_ON_A_MONDAY) is None


@pytest.mark.parametrize(
    ("hour", "day", "cost"),
    [(0, 23, "0.75"), (1, 23, "1.5"), (9, 23, "1.5"), (10, 23, "0.75"), (23, 23, "0.75"), (9, 28, "0.75")],
)
def test_some_hours_are_cheaper(hour: int, day: int, cost: str) -> None:
    now = datetime(2026, 11, day, hour, tzinfo=UTC)
    model = ModelSettings("deepseek", "deepseek-v4-flash")
    assert cost_of(model, Usage(1_000_000, 1_000_000), Billing(), now) == Decimal(cost)
