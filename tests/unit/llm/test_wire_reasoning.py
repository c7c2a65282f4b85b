"""Reasoning that a provider sends apart from the text, in its own form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, ReplyEnding
from flowyard.llm.models import Models
from support.wire.behaviour import Raw
from support.wire.providers import ANTHROPIC, GOOGLE, OLLAMA, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
THOUGHTS: Final = "Hm,\u2028so"


def events(*values: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values)


def anthropic(text: str, *, cut_off: bool, streamed: bool) -> str:
    reason = "max_tokens" if cut_off else "end_turn"
    usage = {"input_tokens": 3, "output_tokens": 9}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    if not streamed:
        thoughts = {"type": "thinking", "thinking": THOUGHTS, "signature": "s"}
        content = [thoughts, *([{"type": "text", "text": text}] if text else [])]
        return json.dumps({**message, "content": content, "stop_reason": reason})
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in (THOUGHTS[:2], THOUGHTS[2:])]
    signature = {"type": "signature_delta", "signature": "s"}
    block = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": text}}
    return events(
        {"type": "message_start", "message": {**message, "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": thinking},
        *({"type": "content_block_delta", "index": 0, "delta": each} for each in (*deltas, signature)),
        {"type": "content_block_stop", "index": 0},
        *([block, delta, {"type": "content_block_stop", "index": 1}] if text else []),
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )


def google(text: str, *, cut_off: bool, streamed: bool) -> str:
    thoughts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in (THOUGHTS[:2], THOUGHTS[2:])]
    parts = [*thoughts, *([{"text": text}] if text else [])]
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 7, "totalTokenCount": 12}
    end = {"finishReason": "MAX_TOKENS" if cut_off else "STOP", "index": 0}

    def answer(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": parts, "role": "model"}, **more}], "usageMetadata": usage}

    if not streamed:
        return json.dumps(answer(parts, **end))
    return events(*(answer([part], index=0) for part in parts), answer([], **end))


def ollama(text: str, *, cut_off: bool, streamed: bool) -> str:
    facts = {"done": True, "done_reason": "length" if cut_off else "stop", "prompt_eval_count": 3, "eval_count": 9}

    def message(done: dict[str, Any] | None = None, **said: str) -> dict[str, Any]:
        said = {"role": "assistant", "content": "", **said}
        return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": said, **(done or {"done": False})}

    if not streamed:
        return json.dumps(message(facts, content=text, thinking=THOUGHTS))
    thoughts = [message(thinking=piece) for piece in (THOUGHTS[:2], THOUGHTS[2:])]
    lines = [*thoughts, *([message(content=text)] if text else []), message(facts)]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


FORMS: Final[dict[Provider, Callable[..., str]]] = {ANTHROPIC: anthropic, GOOGLE: google, OLLAMA: ollama}
EVERY: Final = pytest.mark.parametrize("provider", FORMS, ids=lambda provider: provider.name)


async def reply_of(
    models: Models, provider: Provider, text: str, on_token: OnToken | None, *, cut_off: bool = False
) -> ModelReply:
    body = FORMS[provider](text, cut_off=cut_off, streamed=on_token is not None)
    streamed = "application/x-ndjson" if provider is OLLAMA else "text/event-stream"
    kind = "application/json" if on_token is None else streamed
    async with provider.serve([Raw(body.encode(), kind=kind)]) as server:
        return await models.reply(
            ModelCall("write", provider.settings(server), (ChatMessage("user", "Hello?"),)), on_token
        )


@EVERY
@STREAMED
async def test_reasoning_is_kept_apart(provider: Provider, models: Models, on_token: OnToken | None) -> None:
    reply = await reply_of(models, provider, "Yes.", on_token)
    assert (reply.text, reply.reasoning, reply.ending) == ("Yes.", THOUGHTS, ReplyEnding())


@EVERY
@STREAMED
async def test_tokens_that_all_went_into_reasoning_are_known(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, "", on_token, cut_off=True)
    assert (reply.text, reply.reasoning, reply.usage.tokens_out) == ("", THOUGHTS, 9)
    assert reply.ending == ReplyEnding("length", only_reasoned=True)
