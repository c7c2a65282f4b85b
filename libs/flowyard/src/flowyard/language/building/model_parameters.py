"""Which parameters a model doesn't take, where that is known: a call with one of them is refused, or ignores it."""

from __future__ import annotations

import re
from typing import Final

_REASONING: Final = re.compile(r"(?:openai/)?(?:o[134](?:-|$)|gpt-5(?:-(?!chat)|$))")
"""OpenAI's reasoning models, and their names at routers. Later ones may take a temperature if they don't reason."""
_OPENAI: Final = frozenset({"azure", "openai", "openrouter"})


def temperature_fault(provider: str, model: str, temperature: float) -> str | None:
    """Why the model doesn't take this temperature; None: it does, or nobody knows."""
    if provider in _OPENAI and _REASONING.match(model) and temperature != 1:
        return f"the reasoning model '{model}' takes no temperature but 1"
    if provider == "anthropic" and temperature > 1:
        return "Anthropic's models take a temperature from 0 to 1"
    if provider == "deepseek" and model == "deepseek-reasoner":
        return f"the temperature has no effect on the reasoning model '{model}'"
    return None
