"""The cost of a call without LiteLLM, computed from its price list as LiteLLM would. An unknown price is None, never 0.

A test compares the two for all models of the direct providers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import Usage
from flowyard.llm.litellm_prices import billed_tier, charges_for_more, is_priced, rounded
from flowyard.llm.price_list import entry_of

_FREE: Final = frozenset({"ollama"})
_REPORTING: Final = frozenset({"openrouter", "perplexity", "xai"})
"""Providers that report what a call costs."""
_INCLUSIVE: Final = frozenset({"xai"})
"""Providers whose higher price for a long prompt begins at its length, not above it."""
_CACHED_SHARE: Final = {"fireworks_ai": Decimal("0.5")}
"""What a cached token costs where the list doesn't say it, as a share of the price of another one."""
_ABOVE: Final = re.compile(r"(?P<base>.*)_above_(?P<k>\d+)k_tokens(?:_(?P<tier>[a-z]+))?$")
_TIER_NAMES: Final = {"fast": "priority"}


@dataclass(frozen=True, slots=True)
class Billing:
    """What an answer says of its price, besides the token counts. `tier`: the service tier; None: not given.

    `usd`: the cost, if the provider reports it. `is_sound`: none of the reported counts was impossible.
    """

    tier: Any = None
    usd: Any = None
    reasoning_tokens: int = 0
    is_sound: bool = True


def cost_of(settings: ModelSettings, usage: Usage, billing: Billing, now: datetime) -> Decimal | None:
    """US dollars, or None if unknown."""
    provider = settings.provider
    if provider in _FREE:
        return Decimal(0)
    if provider in _REPORTING and (reported := _amount(billing.usd)) is not None:
        return rounded(reported)
    if (
        usage.tokens_in is None
        or usage.tokens_out is None
        or not billing.is_sound
        or charges_for_more(provider, settings)
    ):
        return None
    off_peak = _off_peak(provider, settings.model)
    rates = _rates(
        provider,
        settings.model,
        billed_tier(settings, billing.tier),
        _length(provider, settings.model, usage.tokens_in - (provider not in _INCLUSIVE)),
        is_off_peak=off_peak is not None and _is_open(off_peak, now),
    )
    if rates is None:
        return None
    cached = min(usage.tokens_cached or 0, usage.tokens_in)
    usd = (usage.tokens_in - cached) * rates.input + cached * rates.cached + usage.tokens_out * rates.output
    return rounded(usd + billing.reasoning_tokens * (rates.reasoning - rates.output))


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars per token."""

    input: Decimal
    cached: Decimal
    output: Decimal
    reasoning: Decimal


def _length(provider: str, model: str, before_last: int) -> int:
    """The longest length of prompts, in thousands of tokens, that has prices of its own and is passed. 0: none is."""
    lengths = _lengths(provider, model)
    return max((k for k in lengths if before_last >= k * 1000), default=0) if lengths else 0


@lru_cache(1024)
def _lengths(provider: str, model: str) -> frozenset[int]:
    return frozenset(int(match["k"]) for name in entry_of(provider, model) if (match := _ABOVE.match(name)))


@lru_cache(1024)
def _off_peak(provider: str, model: str) -> Mapping[str, Any] | None:
    return entry_of(provider, model).get("off_peak_pricing")


@lru_cache(1024)
def _rates(provider: str, model: str, tier: str | None, length: int, *, is_off_peak: bool) -> _Rates | None:
    entry = entry_of(provider, model)
    # Prices by the length of a whole prompt are in none of the forms below.
    if not is_priced(entry, tier) or "tiered_pricing" in entry:
        return None
    tier = _TIER_NAMES.get(tier or "", tier)
    off_peak = entry["off_peak_pricing"] if is_off_peak else {}
    lengths = (f"_above_{length}k_tokens", "") if length else ("",)
    endings = [f"{each}{ending}" for each in lengths for ending in ((f"_{tier}", "") if tier else ("",))]

    def rate(name: str) -> Decimal | None:
        values = (off_peak.get(name), *(entry.get(f"{name}{ending}") for ending in endings))
        return next((Decimal(str(value)) for value in values if value is not None), None)

    usd_in, usd_out = rate("input_cost_per_token"), rate("output_cost_per_token")
    if usd_in is None or usd_out is None:
        return None
    cached, reasoning = rate("cache_read_input_token_cost"), rate("output_cost_per_reasoning_token")
    return _Rates(
        usd_in,
        usd_in * _CACHED_SHARE.get(provider, Decimal(1)) if cached is None else cached,
        usd_out,
        usd_out if reasoning is None else reasoning,
    )


def _is_open(off_peak: Mapping[str, Any], now: datetime) -> bool:
    """Whether the time is in one of the windows with lower prices: hours of UTC, on all or some days of the week."""
    rules = [off_peak, *off_peak.get("windows", ())]
    return any(
        now.isoweekday() in rule.get("weekdays", range(1, 8)) and any(_is_within(hours, now) for hours in _hours(rule))
        for rule in rules
    )


def _hours(rule: Mapping[str, Any]) -> Iterator[str]:
    hours = rule.get("hours_utc", ())
    yield from (hours,) if isinstance(hours, str) else hours


def _is_within(hours: str, now: datetime) -> bool:
    """`hours`: such as `22:00-06:00`, which ends on the next day; the same twice is the whole day."""
    start, end = (int(each[:2]) * 60 + int(each[3:]) for each in hours.split("-"))
    minute = now.hour * 60 + now.minute
    return start <= minute < end if start < end else minute >= start or minute < end


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, Mapping):
        value = value.get("total_cost")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        return None
    return Decimal(str(value))
