"""Reads `FLOWYARD_MODEL_LIMITS`: how many calls a provider gets at a time and per minute, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from flowyard.exact_json import json_mapping
from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.providers import PROVIDERS
from flowyard.storage.pace import Limit

_KEYS: Final = ("concurrency", "requests_per_minute", "tokens_per_minute")
_MOST: Final = 10**9
_EXAMPLE: Final = '{"openai": {"concurrency": 20, "requests_per_minute": 500, "tokens_per_minute": 200000}}'
_KNOWN: Final = "providers: openai, anthropic, google, ollama, or any of LiteLLM's"
_NAME: Final = re.compile(r"([a-z0-9_-]+)(:[A-Za-z_][A-Za-z0-9_]*)?")


def read_model_limits(text: str | Mapping[str, Limit]) -> Mapping[str, Limit]:
    """By provider, or `provider:VARIABLE` for calls with the key in this variable. Raises ValueError."""
    if not isinstance(text, str):
        return text
    given = json_mapping(text, what="providers to limits", example=_EXAMPLE)
    return {name: _read_limit(name, limits) for name, limits in given.items()}


def _read_limit(name: str, limits: Any) -> Limit:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"has '{name}', which is no provider: write provider, or provider:VARIABLE of its key")
    if match[1] not in PROVIDERS:
        raise ValueError(f"has '{name}', which is no provider ({did_you_mean(match[1], PROVIDERS) or _KNOWN})")
    if not isinstance(limits, dict) or not limits:
        raise ValueError(f"should have a mapping for '{name}' with some of {', '.join(_KEYS)}")
    for key, value in limits.items():
        if key not in _KEYS:
            raise ValueError(f"has '{key}' for '{name}', which is no limit ({suggest(key, _KEYS, 'limits')})")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST:
            shown = json.dumps(value, default=str)
            raise ValueError(f"should have a whole number above 0 for '{name}.{key}', not {shown}")
    return Limit(name=name, **limits)
