"""The cost of a call without LiteLLM, computed from its price list as LiteLLM would. An unknown price is None, never 0.

A test compares the two for all models of the direct providers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import Usage
from flowyard.llm.litellm_prices import billed_tier, charges_for_more, is_priced, rounded
from flowyard.llm.price_list import Entry, entry_of

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
    tier = billed_tier(settings, billing.tier)
    entry = entry_of(provider, settings.model)
    # Prices by the length of a whole prompt are in none of the forms below.
    if not is_priced(entry, tier) or "tiered_pricing" in entry:
        return None
    tier = _TIER_NAMES.get(tier or "", tier)
    prices = _Prices(entry, tier, usage.tokens_in, is_inclusive=provider in _INCLUSIVE, now=now)
    price_in, price_out = prices.of("input_cost_per_token"), prices.of("output_cost_per_token")
    cached = min(usage.tokens_cached or 0, usage.tokens_in)
    price_cached = prices.of("cache_read_input_token_cost")
    if price_in is None or price_out is None:
        return None
    if price_cached is None:
        price_cached = price_in * _CACHED_SHARE.get(provider, Decimal(1))
    usd = (usage.tokens_in - cached) * price_in + cached * price_cached + usage.tokens_out * price_out
    reasoned = prices.of("output_cost_per_reasoning_token")
    if reasoned is not None:
        usd += billing.reasoning_tokens * (reasoned - price_out)
    return rounded(usd)


class _Prices:
    """The prices of one call: in its service tier, for the length of its prompt, at its time."""

    def __init__(self, entry: Entry, tier: str | None, prompt: int, *, is_inclusive: bool, now: datetime) -> None:
        self._entry, self._tier = entry, tier
        off_peak = entry.get("off_peak_pricing")
        self._off_peak: Mapping[str, Any] = off_peak if off_peak and _is_open(off_peak, now) else {}
        lengths = {int(match["k"]) for name in entry if (match := _ABOVE.match(name)) and match["tier"] in (None, tier)}
        passed = [k for k in lengths if prompt > k * 1000 - is_inclusive]
        self._length = f"_above_{max(passed)}k_tokens" if passed else ""

    def of(self, name: str) -> Decimal | None:
        tiers = (f"_{self._tier}", "") if self._tier else ("",)
        listed = (self._entry.get(f"{name}{length}{tier}") for length in (self._length, "") for tier in tiers)
        values = (self._off_peak.get(name), *listed)
        return next((Decimal(str(value)) for value in values if value is not None), None)


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
