"""The models with a price in LiteLLM's list. Run it to write `llm/priced_models.txt`, for services without LiteLLM."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from support.documents import ROOT

FILE: Final = ROOT / "libs" / "flowyard" / "src" / "flowyard" / "llm" / "priced_models.txt"
_PRICES: Final = ("input_cost_per_token", "output_cost_per_token")


def priced_models() -> str:
    """A line for each: LiteLLM's name of its provider, and that of the model."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    listed = json.loads(Path(spec.origin).with_name("model_prices_and_context_window_backup.json").read_text())
    del listed["sample_spec"]
    lines = (f"{entry['litellm_provider']} {name}" for name, entry in listed.items() if _is_priced(entry))
    return "\n".join(sorted(lines)) + "\n"


def _is_priced(entry: dict[str, object]) -> bool:
    return all(entry.get(price) is not None for price in _PRICES)


if __name__ == "__main__":
    FILE.write_text(priced_models(), encoding="utf-8")
