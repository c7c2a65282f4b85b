"""What a call costs, from the price map that is part of the LiteLLM package. An unknown price is None, never 0."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from flowyard.llm import terms
from flowyard.llm.litellm_setup import litellm
from flowyard.llm.terms import Price

FREE: Final = frozenset({"ollama_chat"})
_Unpriced: Final = (litellm.ModelNotMappedError, LookupError, TypeError, ValueError, AttributeError)
_DIGITS: Final = Decimal("1e-12")
_VARIANT: Final = r"(?P<hour>_above_1hr)?(?:_above_(?P<k>\d+)k_tokens)?(?:_(?P<tier>[a-z]+))?$"
_IN: Final = re.compile(r"(?:input_cost_per_token|cache_creation_input_token_cost)" + _VARIANT)
_OUT: Final = re.compile(r"output_cost_per_(?:reasoning_)?token" + _VARIANT)
_STANDARD: Final = frozenset({None, "auto", "default", "standard", "standard_only"})
"""What providers call the service tier that has no price of its own."""
_TIERS: Final = frozenset({"service_tier", "serviceTier"})
_SEARCHES: Final = frozenset({"web_search_options", "tools", "search_parameters", "plugins"})
"""Keys of `extra` for what a provider does, and charges for, on its own."""


def cost_of(provider: str, settings: ModelSettings, usage: Any, *, tier: Any = None) -> Decimal | None:
    """US dollars. `provider` is LiteLLM's name; `usage` is its own object, which also tells cached tokens apart.

    `tier`: the service tier that the reply names, whatever that is. Where it names none, it is the one asked for.
    """
    model = settings.model
    if provider in FREE:
        return Decimal(0)
    asked = tier if tier is not None else next((v for k, v in _entries(settings.extra) if k in _TIERS), None)
    tier = None if asked is None else str(asked)
    if usage is None or not _is_priced(provider, model, tier):
        return None
    # Perplexity says what its searches came to.
    if provider != "perplexity" and _is_beyond_tokens(provider, settings):
        return None
    try:
        costs = litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage, service_tier=tier)
    except _Unpriced:
        # It is in the map, and LiteLLM looks for it elsewhere: no reason to lose a reply that is paid for.
        return None
    return sum((Decimal(str(cost)) for cost in costs), Decimal(0)).quantize(_DIGITS).normalize()


def price_of(provider: str, settings: ModelSettings, *, prompt: int) -> Price | None:
    """The most that a token of a prompt and of a reply can cost, if the prompt has at most `prompt` tokens.

    Some models cost more from a length on, or in another service tier; what a provider puts into its cache may cost
    more, too. None also where tokens aren't all that a provider charges for.
    """
    if provider in FREE:
        return terms.FREE
    entry = _entry(provider, settings.model)
    if "input_cost_per_token" not in entry or _is_beyond_tokens(provider, settings):
        return None
    asked = {name for name, _ in _entries(settings.extra)}
    variants = {"tier": asked & _TIERS, "hour": asked & {"cache_control"}}
    left_out = [variant for variant, keys in variants.items() if not keys]
    usd_in, usd_out = (_highest(entry, names, prompt, left_out) for names in (_IN, _OUT))
    if usd_in is None or usd_out is None:
        return None
    factor = _factor(entry, is_fast="speed" in asked)
    return Price(usd_in * factor, usd_out * factor)


def longest_reply(provider: str, model: str) -> int | None:
    """In tokens, if the map says so."""
    most = _entry(provider, model).get("max_output_tokens")
    return most if isinstance(most, int) and most > 0 else None


def _highest(
    entry: Mapping[str, Any], names: re.Pattern[str], prompt: int, left_out: Collection[str]
) -> Decimal | None:
    found = [(match, price) for name, price in entry.items() if price is not None and (match := names.match(name))]
    usual = [(match, price) for match, price in found if not any(match[variant] for variant in left_out)]
    return max((Decimal(str(price)) for match, price in usual if prompt > int(match["k"] or 0) * 1000), default=None)


def _factor(entry: Mapping[str, Any], *, is_fast: bool) -> Decimal:
    """What a model's prices are multiplied by, at most: where it runs may be decided elsewhere, its speed is asked for.

    Source: `cost_per_token` in litellm/llms/anthropic/cost_calculation.py.
    """
    told: Mapping[str, Any] = entry.get("provider_specific_entry") or {}
    factors = {name: Decimal(str(value)) for name, value in told.items() if isinstance(value, int | float)}
    fast = factors.pop("fast", Decimal(1))
    return max(factors.values(), default=Decimal(1)) * (fast if is_fast else 1)


def _is_priced(provider: str, model: str, tier: str | None) -> bool:
    name = "input_cost_per_token" if tier in _STANDARD else f"input_cost_per_token_{tier}"
    return name in _entry(provider, model)


def _is_beyond_tokens(provider: str, settings: ModelSettings) -> bool:
    """Whether searches and the like are charged, which nobody can bound before the call."""
    always = provider == "perplexity" or "-search" in settings.model or "deep-research" in settings.model
    return always or any(name in _SEARCHES for name, _ in _entries(settings.extra))


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Of all mappings in it."""
    if isinstance(value, Mapping):
        yield from value.items()
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _entries(inner)


def _entry(provider: str, model: str) -> Mapping[str, Any]:
    """LiteLLM counts some unknown models as free, so its map is asked first."""
    prices: Mapping[str, Mapping[str, Any]] = litellm.model_cost
    entry = prices.get(f"{provider}/{model}")
    if entry is None:
        entry = prices.get(model, {})
        if not str(entry.get("litellm_provider", "")).startswith(provider):
            return {}
    return entry
