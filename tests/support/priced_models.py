"""The models with a price in LiteLLM's list. Run it to write `llm/priced_models.txt`, for services without LiteLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from flowyard.llm.litellm_prices import price_of
from support.documents import ROOT

FILE: Final = ROOT / "libs" / "flowyard" / "src" / "flowyard" / "llm" / "priced_models.txt"
_ANY_LENGTH: Final = 10**9
_PRICES: Final = ("input_cost_per_token", "output_cost_per_token")


def priced_models() -> str:
    """A line for each: LiteLLM's name of its provider, the prices, `- -` if they aren't known, and the model's name."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    listed = json.loads(Path(spec.origin).with_name("model_prices_and_context_window_backup.json").read_text())
    del listed["sample_spec"]
    lines = (_line(name, entry) for name, entry in listed.items() if _is_priced(entry))
    return "\n".join(sorted(lines)) + "\n"


def _line(name: str, entry: Mapping[str, Any]) -> str:
    provider = entry["litellm_provider"]
    price = price_of(provider, ModelSettings(provider, name), prompt=_ANY_LENGTH)
    prices = f"{_shown(price.usd_in)} {_shown(price.usd_out)}" if price is not None else "- -"
    return f"{provider} {prices} {name}"


def _shown(usd: Decimal) -> str:
    """Of a million tokens."""
    return f"{(usd * 1_000_000).normalize():f}"


def _is_priced(entry: Mapping[str, Any]) -> bool:
    return all(entry.get(price) is not None for price in _PRICES)


if __name__ == "__main__":
    FILE.write_text(priced_models(), encoding="utf-8")
