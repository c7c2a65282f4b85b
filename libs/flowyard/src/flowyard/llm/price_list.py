"""The price list in the LiteLLM package, read as data: LiteLLM itself isn't imported."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

Entry = Mapping[str, Any]
_FILE: Final = "model_prices_and_context_window_backup.json"
_KEPT: Final = re.compile(r"litellm_provider|max_output_tokens|provider_specific_entry|.*cost_per|.*_cost|.*_pricing")


@cache
def entries() -> Mapping[str, Entry]:
    """What is said about the price of each model; empty if LiteLLM isn't installed. Blocks for 50 ms the first time."""
    spec = find_spec("litellm")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return {}
    models = json.loads((Path(folders[0]) / _FILE).read_bytes())
    return {name: {key: value for key, value in model.items() if _KEPT.match(key)} for name, model in models.items()}


def entry_of(provider: str, model: str) -> Entry:
    """The model's entry, else {}. `provider`: LiteLLM's name."""
    entry = entries().get(f"{provider}/{model}")
    if entry is None:
        entry = entries().get(model, {})
        if not str(entry.get("litellm_provider", "")).startswith(provider):
            return {}
    return entry
