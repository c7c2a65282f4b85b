"""How many tokens a model call may use at most, known before it is made; and about how many a message has. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from flowyard.llm.calls import ChatMessage, ModelCall

SHORTEST_REPLY: Final = 16
"""Tokens: a reply's limit isn't set lower than that to fit what is left of a budget."""
_PER_MESSAGE: Final = 8
_PER_CALL: Final = 64
"""What a chat template adds around the messages: some add a system message of their own."""
_PER_SCHEMA: Final = 600
"""Tokens that providers add to a prompt to ask for JSON; Anthropic adds up to 530."""
_PER_IMAGE: Final = 50_000
"""The most that a provider counts for an image: some models of OpenAI count 48,000."""
_PER_FILE: Final = 100_000
"""For a file at least: its text may be compressed, and its pages are counted as images, too."""
_USUAL_PER_MESSAGE: Final = 4
_USUAL_PER_IMAGE: Final = 1_100
_USUAL_PER_SMALL_IMAGE: Final = 85
_BYTES_PER_TOKEN_OF_A_FILE: Final = 16
_PER_CHARACTER: Final = 0.3
_PER_FURTHER_BYTE: Final = 0.5
_LENGTHS: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict"}
)
_NUMBERS: Final = frozenset({"n", "best_of", "candidate_count", "candidateCount"})


def prompt_bound(call: ModelCall) -> int:
    """Tokens of the prompt at most: no tokenizer makes more than one token of a byte."""
    messages = sum(map(_message_bound, call.messages)) + _PER_CALL
    # Next to the messages, which have it as well.
    schema = _bytes(_json(call.schema)) + _PER_SCHEMA if call.schema is not None else 0
    # Tools and the like go to the provider as they are, and the provider counts them as a part of the prompt.
    extra = _bytes(_json(call.settings.extra)) if call.settings.extra else 0
    tools = _bytes(_json(call.offer.parameters)) + _PER_SCHEMA if call.offer is not None else 0
    return messages + schema + extra + tools


def _message_bound(message: ChatMessage) -> int:
    content = message.content
    parts = content if isinstance(content, tuple) else ({"type": "text", "text": content or ""},)
    calls = _bytes(_json([each.data for each in message.tool_calls])) if message.tool_calls else 0
    rest = _bytes(message.name or "") + _bytes(message.tool_call_id or "")
    return sum(_part_bound(part) for part in parts) + calls + rest + _PER_MESSAGE


def _part_bound(part: Mapping[str, Any]) -> int:
    match part:
        case {"type": "text", "text": str(text)}:
            return _bytes(text)
        case {"type": "image_url"}:
            return _PER_IMAGE
        case _:
            return max(_bytes(_json(part)), _PER_FILE)


def estimated_tokens(message: ChatMessage) -> int:
    """About as many tokens as the message has, to leave out old ones: no tokenizer, since each model has another."""
    content = message.content
    parts = content if isinstance(content, tuple) else ({"type": "text", "text": content or ""},)
    calls = sum(_tokens_in(call.name) + _tokens_in(call.arguments) for call in message.tool_calls)
    return sum(map(_part_tokens, parts)) + calls + _USUAL_PER_MESSAGE


def _part_tokens(part: Mapping[str, Any]) -> int:
    match part:
        case {"type": "text", "text": str(text)}:
            return _tokens_in(text)
        case {"type": "image_url", "image_url": {"detail": "low"}}:
            return _USUAL_PER_SMALL_IMAGE
        case {"type": "image_url"}:
            return _USUAL_PER_IMAGE
        case _:
            return max(_USUAL_PER_IMAGE, _bytes(_json(part)) // _BYTES_PER_TOKEN_OF_A_FILE)


def _tokens_in(text: str) -> int:
    """The more bytes a character has in UTF-8, the more tokens. A test compares it with two tokenizers."""
    more_bytes = 0 if text.isascii() else _bytes(text) - len(text)
    return math.ceil(len(text) * _PER_CHARACTER + more_bytes * _PER_FURTHER_BYTE)


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
