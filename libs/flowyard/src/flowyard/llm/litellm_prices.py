"""The cost of a call, from the price map in the LiteLLM package. An unknown price is None, never 0."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from flowyard.llm import terms
from flowyard.llm.price_list import Entry, entry_of
from flowyard.llm.terms import FREE_PROVIDERS, Price

_DIGITS: Final = Decimal("1e-12")
_SUFFIX: Final = r"(?P<hour>_above_1hr)?(?:_above_(?P<k>\d+)k_tokens)?(?:_(?P<tier>[a-z]+))?$"
_INPUT_PRICE: Final = re.compile(r"(?:input_cost_per_token|cache_creation_input_token_cost)" + _SUFFIX)
_OUTPUT_PRICE: Final = re.compile(r"output_cost_per_(?:reasoning_)?token" + _SUFFIX)
_STANDARD: Final = frozenset({None, "auto", "default", "standard", "standard_only"})
"""Names of the service tier that has the normal price."""
_TIERS: Final = frozenset({"service_tier", "serviceTier"})
_SEARCHES: Final = frozenset({"web_search_options", "tools", "search_parameters", "plugins"})
"""Keys of `extra` that make the provider do, and charge for, more than the reply."""


def cost_of(provider: str, settings: ModelSettings, usage: Any, *, tier: Any = None) -> Decimal | None:
    """US dollars, or None if unknown. `provider`: LiteLLM's name; `usage`: LiteLLM's object, with cached tokens.

    `tier`: the service tier in the reply; None: the one in the request.
    """
    model = settings.model
    if provider in FREE_PROVIDERS:
        return Decimal(0)
    tier = billed_tier(settings, tier)
    if usage is None or not is_priced(entry_of(provider, model), tier):
        return None
    # Perplexity reports the cost of its searches, so LiteLLM can add it.
    if provider != "perplexity" and charges_for_more(provider, settings):
        return None
    # Inline: takes seconds. Who comes here has called LiteLLM, and so imported it.
    from flowyard.llm.litellm_setup import litellm  # noqa: PLC0415

    try:
        costs = litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage, service_tier=tier)
    except (litellm.ModelNotMappedError, LookupError, TypeError, ValueError, AttributeError):
        # The model is in the map, but LiteLLM looks under another name. Don't lose a reply that was paid for.
        return None
    return rounded(sum((Decimal(str(cost)) for cost in costs), Decimal(0)))


def rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_DIGITS).normalize()


def billed_tier(settings: ModelSettings, tier: Any) -> str | None:
    """The service tier in the reply, else the one in the request."""
    if tier is None and settings.extra:
        tier = next((v for k, v in _all_items(settings.extra) if k in _TIERS), None)
    return None if tier is None else str(tier)


def price_of(provider: str, settings: ModelSettings, *, prompt: int) -> Price | None:
    """The highest price that a token of prompt and reply can have, if the prompt has at most `prompt` tokens.

    Some models cost more above a prompt length, in another service tier, or for tokens that the provider caches. None
    if the price is unknown, or the provider charges for more than tokens.
    """
    if provider in FREE_PROVIDERS:
        return terms.FREE
    entry = entry_of(provider, settings.model)
    if "input_cost_per_token" not in entry or charges_for_more(provider, settings):
        return None
    names = {name for name, _ in _all_items(settings.extra)}
    variants = {"tier": names & _TIERS, "hour": names & {"cache_control"}}
    excluded = [variant for variant, keys in variants.items() if not keys]
    usd_in, usd_out = (_highest_price(entry, key, prompt, excluded) for key in (_INPUT_PRICE, _OUTPUT_PRICE))
    if usd_in is None or usd_out is None:
        return None
    factor = _max_factor(entry, is_fast="speed" in names)
    return Price(usd_in * factor, usd_out * factor)


def longest_reply(provider: str, model: str) -> int | None:
    """Tokens; None if the map has no limit for the model."""
    tokens = entry_of(provider, model).get("max_output_tokens")
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def _highest_price(
    entry: Mapping[str, Any], key: re.Pattern[str], prompt: int, excluded: Collection[str]
) -> Decimal | None:
    """`key`: matches the names of the prices to compare; `excluded`: groups that must not be part of the name."""
    prices = [(match, price) for name, price in entry.items() if price is not None and (match := key.match(name))]
    possible = [(match, price) for match, price in prices if not any(match[variant] for variant in excluded)]
    return max((Decimal(str(price)) for match, price in possible if prompt > int(match["k"] or 0) * 1000), default=None)


def _max_factor(entry: Mapping[str, Any], *, is_fast: bool) -> Decimal:
    """The highest factor on a model's prices. The region may be chosen by the provider, fast mode only by the request.

    Source: `cost_per_token` in litellm/llms/anthropic/cost_calculation.py.
    """
    specific: Mapping[str, Any] = entry.get("provider_specific_entry") or {}
    factors = {name: Decimal(str(value)) for name, value in specific.items() if isinstance(value, int | float)}
    fast = factors.pop("fast", Decimal(1))
    return max(factors.values(), default=Decimal(1)) * (fast if is_fast else 1)


def is_priced(entry: Entry, tier: str | None) -> bool:
    """Whether the list has a price for the service tier. LiteLLM takes some models without one for free."""
    return ("input_cost_per_token" if tier in _STANDARD else f"input_cost_per_token_{tier}") in entry


def charges_for_more(provider: str, settings: ModelSettings) -> bool:
    """Whether the provider may charge for searches and the like, whose number nobody can bound before the call."""
    always = provider == "perplexity" or "-search" in settings.model or "deep-research" in settings.model
    return always or (bool(settings.extra) and any(map(_is_charged, _all_items(settings.extra))))


def _is_charged(item: tuple[str, Any]) -> bool:
    name, value = item
    # Functions are only named in the reply, by tokens like all others.
    if name == "tools" and isinstance(value, list):
        return any(not isinstance(tool, Mapping) or tool.get("type") != "function" for tool in value)
    return name in _SEARCHES


def _all_items(value: Any) -> Iterator[tuple[str, Any]]:
    """The items of all mappings in a value, however deep."""
    if isinstance(value, Mapping):
        yield from value.items()
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _all_items(inner)
