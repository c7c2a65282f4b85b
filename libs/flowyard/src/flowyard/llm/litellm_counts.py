"""Token counts that LiteLLM can't read: it would lose a good reply because of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_COUNT: Final = (
    r'"(?:prompt_tokens|completion_tokens|total_tokens|input_tokens|output_tokens|promptTokenCount|candidatesTokenCount'
    r'|totalTokenCount|prompt_eval_count|eval_count)"'
)
_UNSOUND: Final = re.compile(rf'{_COUNT}\s*:(?!\s*-?\d+(?:\.0+)?\s*[,}}])|"(?:usage|usageMetadata)"\s*:(?!\s*[{{n])')
"""Token counts that LiteLLM can't read. Within a string, the quotes would be escaped."""
_NO_USAGE: Final = re.compile(r'"(?:usage|usageMetadata)"\s*:\s*null')
_NEEDED: Final[Mapping[str, str]] = {
    "anthropic": "usage", **dict.fromkeys(("gemini", "vertex_ai", "vertex_ai_beta"), "usageMetadata")
}  # fmt: skip
"""Where LiteLLM wants token counts, by provider."""


def can_be_read(text: str, *, whole_of: str | None = None) -> bool:
    """Whether LiteLLM can read the counts in the JSON of an answer, or of a part of one.

    `whole_of`: the provider of a whole answer, in which LiteLLM may need them.
    """
    if _UNSOUND.search(text):
        return False
    needed = _NEEDED.get(whole_of or "")
    return whole_of is None or not (_NO_USAGE.search(text) or (needed is not None and f'"{needed}"' not in text))


def has_counts(text: str) -> bool:
    return re.search(_COUNT, text) is not None


def drop_counts(value: dict[str, Any], provider: str) -> None:
    """Leaves none, in the form that LiteLLM takes."""
    for part in (value, value.get("message")):
        if isinstance(part, dict):
            part.update({name: {} for name in ("usage", "usageMetadata") if name in part})
            for name in ("prompt_eval_count", "eval_count"):
                part.pop(name, None)
    if (needed := _NEEDED.get(provider)) is not None:
        value.setdefault(needed, {})
