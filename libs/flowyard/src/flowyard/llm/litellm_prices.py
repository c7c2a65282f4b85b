"""What a call costs, from the price map that is part of the LiteLLM package. An unknown price is None, never 0."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from flowyard.llm.litellm_setup import litellm

FREE: Final = frozenset({"ollama_chat"})
_DIGITS: Final = Decimal("1e-12")


def cost_of(provider: str, model: str, usage: Any) -> Decimal | None:
    """US dollars. `provider` is LiteLLM's name; `usage` is its own object, which also tells cached tokens apart."""
    if provider in FREE:
        return Decimal(0)
    if usage is None or not _is_priced(provider, model):
        return None
    costs = litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage)
    return sum((Decimal(str(cost)) for cost in costs), Decimal(0)).quantize(_DIGITS).normalize()


def _is_priced(provider: str, model: str) -> bool:
    """LiteLLM counts some unknown models as free, so its map is asked first."""
    prices = litellm.model_cost
    entry = prices.get(f"{provider}/{model}")
    if entry is None:
        entry = prices.get(model, {})
        if not str(entry.get("litellm_provider", "")).startswith(provider):
            return False
    return "input_cost_per_token" in entry
