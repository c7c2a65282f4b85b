"""What a call costs, from the price map that is part of the LiteLLM package. An unknown price is None, never 0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from flowyard.llm import terms
from flowyard.llm.litellm_setup import litellm
from flowyard.llm.terms import Price

FREE: Final = frozenset({"ollama_chat"})
_Unpriced: Final = (litellm.ModelNotMappedError, LookupError, TypeError, ValueError, AttributeError)
_DIGITS: Final = Decimal("1e-12")
_IN: Final = re.compile(r"(?:input_cost_per_token|cache_creation_input_token_cost)(?:_above_(\d+)k_tokens)?$")
_OUT: Final = re.compile(r"output_cost_per_(?:reasoning_)?token(?:_above_(\d+)k_tokens)?$")


def cost_of(provider: str, model: str, usage: Any) -> Decimal | None:
    """US dollars. `provider` is LiteLLM's name; `usage` is its own object, which also tells cached tokens apart."""
    if provider in FREE:
        return Decimal(0)
    if usage is None or not _is_priced(provider, model):
        return None
    try:
        costs = litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage)
    except _Unpriced:
        # It is in the map, and LiteLLM looks for it elsewhere: no reason to lose a reply that is paid for.
        return None
    return sum((Decimal(str(cost)) for cost in costs), Decimal(0)).quantize(_DIGITS).normalize()


def price_of(provider: str, model: str, *, prompt: int) -> Price | None:
    """The most that a token of a prompt and of a reply can cost, if the prompt has at most `prompt` tokens.

    Some models cost more from a length on; what a provider puts into its cache may cost more, too.
    """
    if provider in FREE:
        return terms.FREE
    entry = _entry(provider, model)
    if "input_cost_per_token" not in entry:
        return None
    usd_in, usd_out = (_highest(entry, names, prompt) for names in (_IN, _OUT))
    return Price(usd_in, usd_out) if usd_in is not None and usd_out is not None else None


def longest_reply(provider: str, model: str) -> int | None:
    """In tokens, if the map says so."""
    most = _entry(provider, model).get("max_output_tokens")
    return most if isinstance(most, int) and most > 0 else None


def _highest(entry: Mapping[str, Any], names: re.Pattern[str], prompt: int) -> Decimal | None:
    found = [(match, price) for name, price in entry.items() if price is not None and (match := names.match(name))]
    return max((Decimal(str(price)) for match, price in found if prompt > int(match[1] or 0) * 1000), default=None)


def _is_priced(provider: str, model: str) -> bool:
    return "input_cost_per_token" in _entry(provider, model)


def _entry(provider: str, model: str) -> Mapping[str, Any]:
    """LiteLLM counts some unknown models as free, so its map is asked first."""
    prices: Mapping[str, Mapping[str, Any]] = litellm.model_cost
    entry = prices.get(f"{provider}/{model}")
    if entry is None:
        entry = prices.get(model, {})
        if not str(entry.get("litellm_provider", "")).startswith(provider):
            return {}
    return entry
