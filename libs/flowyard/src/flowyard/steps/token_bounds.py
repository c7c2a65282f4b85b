"""How many tokens a model call may use at most, known before it is made. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from flowyard.llm.calls import ModelCall

SHORTEST_REPLY: Final = 16
"""Tokens: a reply's limit isn't set lower than that to fit what is left of a budget."""
_PER_MESSAGE: Final = 8
_PER_CALL: Final = 64
"""What a chat template adds around the messages: some add a system message of their own."""
_PER_SCHEMA: Final = 600
"""Tokens that providers add to a prompt to ask for JSON; Anthropic adds up to 530."""
_LENGTHS: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict"}
)
_NUMBERS: Final = frozenset({"n", "best_of", "candidate_count", "candidateCount"})


def prompt_bound(call: ModelCall) -> int:
    """Tokens of the prompt at most: no tokenizer makes more than one token of a byte."""
    messages = sum(_bytes(message.content) + _PER_MESSAGE for message in call.messages) + _PER_CALL
    # Next to the messages, which have it as well.
    schema = _bytes(_json(call.schema)) + _PER_SCHEMA if call.schema is not None else 0
    # Tools and the like go to the provider as they are, and the provider counts them as a part of the prompt.
    extra = _bytes(_json(call.settings.extra)) if call.settings.extra else 0
    return messages + schema + extra


def replies_per_call(call: ModelCall) -> int:
    """OpenAI's `n`, and the names that other providers give it."""
    return max([1, *_counts(call.settings.extra, _NUMBERS)])


def reply_limit(call: ModelCall) -> int | None:
    """Tokens that the document allows a reply: `max_tokens`, or in `extra` a provider's own name for it."""
    own = call.settings.max_tokens
    return max([*_counts(call.settings.extra, _LENGTHS), *([own] if own is not None else [])], default=None)


def _counts(value: Any, names: frozenset[str]) -> Iterator[int]:
    """The counts under these names, at any depth: `extra_body` and the like are a part of the request, too."""
    if isinstance(value, Mapping):
        yield from (count for name, count in value.items() if name in names and _is_count(count))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for each in inner:
        yield from _counts(each, names)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
