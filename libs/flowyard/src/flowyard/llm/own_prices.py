"""Prices of one's own: in a document, or in the installation's table. They count before any price list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from flowyard.exact_json import MOST_PLACES, amount_of, json_mapping
from flowyard.language.nodes import ModelSettings, TokenPrice
from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.providers import PROVIDERS
from flowyard.llm.calls import Usage
from flowyard.llm.litellm_prices import charges_for_more
from flowyard.llm.terms import FREE, FREE_PROVIDERS, LITELLM_NAMES, Price

_KEYS: Final = tuple(each.name for each in fields(TokenPrice))
_MILLION: Final = 1_000_000
_MOST: Final = 1_000_000
"""US dollars per million tokens: more is a mistake in the unit."""
_EXAMPLE: Final = '{"hosted_vllm/qwen3": {"input": 0.1, "output": "0.4"}, "lm_studio/*": {"input": 0, "output": 0}}'


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of an installation, by `provider/model`, or `provider/*` for its other models."""

    prices: Mapping[str, TokenPrice] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prices)

    @property
    def models(self) -> frozenset[str]:
        """The names of the models in it, without their providers, and without patterns."""
        names = (name.partition("/")[2] for name in self.prices)
        return frozenset(name for name in names if name and "*" not in name)

    def of(self, settings: ModelSettings) -> TokenPrice | None:
        """The document's own price, else that of this table. None: only a price list can know it."""
        if settings.provider in FREE_PROVIDERS:
            return None
        if not self.prices:
            return settings.price
        named = self.prices.get(f"{settings.provider}/{settings.model}")
        return settings.price or named or self.prices.get(f"{settings.provider}/*")

    def has_price(self, settings: ModelSettings) -> bool:
        """Whether the cost of the model's calls is known before they are made."""
        if settings.provider in FREE_PROVIDERS or self.of(settings) is not None:
            return True
        provider = LITELLM_NAMES.get(settings.provider, settings.provider)
        return _line_of(provider, settings.model) is not None and not charges_for_more(provider, settings)


NO_PRICES: Final = PriceTable()


def highest(price: TokenPrice) -> Price:
    """The most that a token can cost."""
    usd_in = max(price.input, price.cached_input or Decimal(0))
    return Price(usd_in / _MILLION, price.output / _MILLION)


def cost_at(price: TokenPrice, usage: Usage) -> Decimal | None:
    """US dollars; None if the provider didn't report the tokens."""
    if usage.tokens_in is None or usage.tokens_out is None:
        return None
    cached = min(usage.tokens_cached or 0, usage.tokens_in)
    of_cached = price.input if price.cached_input is None else price.cached_input
    usd = (usage.tokens_in - cached) * price.input + cached * of_cached + usage.tokens_out * price.output
    return (usd / _MILLION).normalize()


def read_prices(text: str | PriceTable) -> PriceTable:
    """The table of `FLOWYARD_PRICES`; the default is one already. Raises ValueError."""
    if not isinstance(text, str):
        return text
    given = json_mapping(text, what="models to prices", example=_EXAMPLE)
    return PriceTable({model: _read_price(model, price) for model, price in given.items()})


def _read_price(model: str, price: Any) -> TokenPrice:
    provider, slash, name = model.partition("/")
    if not slash or not name:
        raise ValueError(f"has '{model}', which is no model: write provider/model, or provider/*")
    if provider not in PROVIDERS:
        hint = did_you_mean(provider, PROVIDERS) or "write provider/model, or provider/*"
        raise ValueError(f"has '{model}', but no provider is called '{provider}' ({hint})")
    if provider in FREE_PROVIDERS:
        raise ValueError(f"has '{model}', but calls of {provider} cost nothing")
    if not isinstance(price, dict) or not {"input", "output"} <= price.keys():
        raise ValueError(f"should have input and output for '{model}', in US dollars per million tokens")
    for key in price:
        if key not in _KEYS:
            raise ValueError(f"has '{key}' for '{model}', which is no price ({suggest(key, _KEYS, 'prices')})")
    return TokenPrice(**{key: _read_amount(f"{model}.{key}", value) for key, value in price.items()})


def _read_amount(name: str, value: Any) -> Decimal:
    amount = amount_of(value)
    if amount is None or not 0 <= amount <= _MOST:
        what = f"an amount from 0 to {_MOST:,} with at most {MOST_PLACES} decimal places"
        raise ValueError(f"should have {what} for '{name}', not {value}")
    return amount


def listed_price(settings: ModelSettings) -> Price | None:
    """The most that a token of a prompt of any length can cost, by LiteLLM's list. None if that isn't known.

    Also where LiteLLM isn't installed, and for calls without `extra`, which may choose other prices.
    """
    if settings.provider in FREE_PROVIDERS:
        return FREE
    line = _line_of(LITELLM_NAMES.get(settings.provider, settings.provider), settings.model)
    if line is None or settings.extra or "-" in (line.usd_in, line.usd_out):
        return None
    return Price(Decimal(line.usd_in) / _MILLION, Decimal(line.usd_out) / _MILLION)


class _Line(NamedTuple):
    """A model of LiteLLM's list: the provider, and the prices of a million tokens, `-` if they aren't known."""

    provider: str
    usd_in: str
    usd_out: str


def _line_of(provider: str, model: str) -> _Line | None:
    """The same rule as that of the prices themselves."""
    listed = _listed()
    if (named := listed.get(f"{provider}/{model}")) is not None:
        return named
    line = listed.get(model)
    return line if line is not None and line.provider.startswith(provider) else None


@cache
def _listed() -> Mapping[str, _Line]:
    """LiteLLM's list, which only executors have. `tests/support/priced_models.py` writes it."""
    lines = files("flowyard.llm").joinpath("priced_models.txt").read_text(encoding="utf-8").splitlines()
    return {model: _Line(*line) for *line, model in (line.split(" ", 3) for line in lines)}
