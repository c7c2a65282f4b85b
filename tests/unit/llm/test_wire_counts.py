"""Token counts that can't be read, in each provider's own form: unknown, and never a reason to lose a good reply."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from flowyard.llm.calls import ChatMessage, ModelCall, OnToken, Usage
from flowyard.llm.models import Models
from support.wire.behaviour import Raw
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
NAMES: Final = {
    OPENAI: ("usage", "prompt_tokens", "completion_tokens"),
    DIRECT: ("usage", "prompt_tokens", "completion_tokens"),
    ANTHROPIC: ("usage", "input_tokens", "output_tokens"),
    GOOGLE: ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    OLLAMA: ("", "prompt_eval_count", "eval_count"),
}
"""Where the counts are, and what they are called."""


def answer_of(provider: Provider) -> dict[str, Any]:
    said = {"role": "assistant", "content": "hi"}
    if provider is ANTHROPIC:
        content = [{"type": "text", "text": "hi"}]
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        return {**message, "content": content}
    if provider is GOOGLE:
        return {"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}]}
    if provider is OLLAMA:
        return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": said, "done": True}
    choice = {"index": 0, "message": said, "delta": said, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def with_counts(provider: Provider, tokens_in: Any, tokens_out: Any) -> dict[str, Any]:
    place, name_in, name_out = NAMES[provider]
    counts = {name_in: tokens_in, name_out: tokens_out}
    return {**answer_of(provider), **({place: counts} if place else counts)}


async def usage_of(models: Models, provider: Provider, answer: dict[str, Any], on_token: OnToken | None) -> Usage:
    """Also to a request for a stream, the answer is whole."""
    async with provider.serve([Raw(json.dumps(answer).encode(), kind="application/json")]) as server:
        call = ModelCall("write", provider.settings(server), (ChatMessage("user", "Hello?"),))
        reply = await models.reply(call, on_token)
    assert (reply.text, reply.cost_usd is None or provider is OLLAMA) == ("hi", True)
    return reply.usage


@STREAMED
@pytest.mark.parametrize(
    ("tokens_in", "tokens_out"),
    [("x", 2), (3, None), (3, 2.5), (float("nan"), 2), ([], 2)],
    ids=["text", "null", "fraction", "nan", "list"],
)
async def test_a_count_that_is_no_number_of_tokens_is_unknown(
    provider: Provider, models: Models, tokens_in: Any, tokens_out: Any, on_token: OnToken | None
) -> None:
    usage = await usage_of(models, provider, with_counts(provider, tokens_in, tokens_out), on_token)
    assert None in (usage.tokens_in, usage.tokens_out)


@STREAMED
@pytest.mark.parametrize("counts", [None, [1], "many", ...], ids=["null", "list", "text", "nothing"])
async def test_counts_that_are_none_are_unknown(
    provider: Provider, models: Models, counts: Any, on_token: OnToken | None
) -> None:
    place = NAMES[provider][0]
    given = {place: counts} if place and counts is not ... else {}
    assert await usage_of(models, provider, {**answer_of(provider), **given}, on_token) == Usage()


@pytest.mark.parametrize("provider", [OPENAI, DIRECT, GOOGLE], ids=lambda provider: provider.name)
async def test_a_count_in_an_event_that_is_no_number_is_unknown(provider: Provider, models: Models) -> None:
    event = f"data: {json.dumps(with_counts(provider, 'x', 2))}\n\n"
    async with provider.serve([Raw(event.encode())]) as server:
        call = ModelCall("write", provider.settings(server), (ChatMessage("user", "Hello?"),))
        reply = await models.reply(call, lambda token: None)
    assert (reply.text, reply.usage.tokens_in, reply.cost_usd) == ("hi", None, None)


@pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)
async def test_the_last_counts_are_taken_whatever_came_before(provider: Provider, models: Models) -> None:
    chunks = [
        with_counts(provider, 3, None),
        {"id": "x", "model": "m", "choices": [], "usage": with_counts(provider, 3, 2)["usage"]},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    async with provider.serve([Raw(body.encode())]) as server:
        call = ModelCall("write", provider.settings(server), (ChatMessage("user", "Hello?"),))
        reply = await models.reply(call, lambda token: None)
    assert (reply.text, reply.usage) == ("hi", Usage(3, 2))
