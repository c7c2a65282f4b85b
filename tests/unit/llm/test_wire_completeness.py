"""When an answer is complete, and when it was cut off, in each provider's own form."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken
from flowyard.llm.models import Models
from support.wire.behaviour import Raw
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


async def reply_of(
    models: Models, provider: Provider, *pieces: str, streamed: bool = True, kind: str = "text/event-stream"
) -> ModelReply:
    async with provider.serve([Raw("".join(pieces).encode(), kind=kind)]) as server:
        return await models.reply(call_of(provider.settings(server)), (lambda token: None) if streamed else None)


def data(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def chunk(text: str = "", reason: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}
    return data({"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [choice]})


MESSAGE: dict[str, Any] = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
    "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip


def claude(kind: str, **fields: Any) -> str:
    return f"event: {kind}\n{data({'type': kind, **fields})}"


CLAUDE = (
    claude("message_start", message=MESSAGE)
    + claude("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + claude("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
    + claude("content_block_stop", index=0)
)
CLAUDE_STOP = claude("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})


def gemini(text: str, reason: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    return {"candidates": [candidate | ({"finishReason": reason} if reason else {})], "usageMetadata": usage}


def ollama(text: str, *, done: bool) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done}) + "\n"


@pytest.mark.parametrize(
    ("provider", "pieces"),
    [
        *((provider, pieces) for provider in (OPENAI, DIRECT) for pieces in (
            [chunk("hi", "stop")],
            [chunk("hi"), chunk(reason="stop"), "data: [DONE]\n\n"],
            [chunk("hi"), "data: [DONE]\n\n"],
        )),
        (ANTHROPIC, [CLAUDE, CLAUDE_STOP]),
        (ANTHROPIC, [CLAUDE, CLAUDE_STOP, claude("message_stop")]),
        (ANTHROPIC, [CLAUDE, claude("message_stop")]),
        (GOOGLE, [data(gemini("h")), data(gemini("i", "STOP"))]),
        (OLLAMA, [ollama("h", done=False), ollama("i", done=True)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
async def test_a_stream_with_its_last_event_or_a_reason_is_complete(
    models: Models, provider: Provider, pieces: list[str]
) -> None:
    kind = "application/x-ndjson" if provider is OLLAMA else "text/event-stream"
    reply = await reply_of(models, provider, *pieces, kind=kind)
    assert (reply.text, reply.ending.how) == ("hi", "stop")


@pytest.mark.parametrize(
    ("provider", "pieces"),
    [
        (OPENAI, [chunk("hi")]),
        (DIRECT, [chunk("hi")]),
        (OPENAI, [""]),
        (DIRECT, [""]),
        (ANTHROPIC, [CLAUDE]),
        (GOOGLE, [data(gemini("h")), data(gemini("i"))]),
        (OLLAMA, [ollama("h", done=False), ollama("i", done=False)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_stream_with_neither_was_cut_off(models: Models, provider: Provider, pieces: list[str]) -> None:
    kind = "application/x-ndjson" if provider is OLLAMA else "text/event-stream"
    with pytest.raises(ProviderError, match="the stream ended in the middle of the reply"):
        await reply_of(models, provider, *pieces, kind=kind)


def whole_openai(reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": reason}
    return {"id": "x", "created": 1, "model": "m", "object": "chat.completion", "choices": [choice]}


def whole_claude(reason: str | None) -> dict[str, Any]:
    return {**MESSAGE, "content": [{"type": "text", "text": "hi"}], "stop_reason": reason}


@pytest.mark.parametrize("streamed", [False, True], ids=["to a plain request", "to one for a stream"])
@pytest.mark.parametrize(
    ("provider", "answer", "ending"),
    [
        *((provider, whole_openai(reason), ending) for provider in (OPENAI, DIRECT) for reason, ending in (
            ("stop", "stop"), (None, "stop"), ("length", "length"),
        )),
        (ANTHROPIC, whole_claude("end_turn"), "stop"),
        (ANTHROPIC, whole_claude(None), "stop"),
        (ANTHROPIC, whole_claude("max_tokens"), "length"),
        (GOOGLE, gemini("hi", "STOP"), "stop"),
        (GOOGLE, gemini("hi"), "stop"),
        (GOOGLE, gemini("hi", "MAX_TOKENS"), "length"),
        (OLLAMA, json.loads(ollama("hi", done=True)), "stop"),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
async def test_a_whole_answer_is_complete(
    models: Models, provider: Provider, answer: dict[str, Any], ending: str, *, streamed: bool
) -> None:
    for kind in ("application/json", "text/plain", "application/octet-stream"):
        reply = await reply_of(models, provider, json.dumps(answer), streamed=streamed, kind=kind)
        assert (reply.text, reply.ending.how) == ("hi", ending)


async def test_a_whole_answer_with_thoughts_and_usage_is_taken_in_anthropics_format(models: Models) -> None:
    thoughts = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    usage = {"input_tokens": 3, "output_tokens": 7}
    content = [thoughts, {"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    answer = {**MESSAGE, "content": content, "stop_reason": "end_turn", "usage": usage}
    reply = await reply_of(models, ANTHROPIC, json.dumps(answer), kind="application/json")
    assert (reply.text, reply.reasoning) == ("hi", "Hm")
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (3, 7)


async def test_a_list_of_chunks_is_taken_in_googles_format(models: Models) -> None:
    reply = await reply_of(models, GOOGLE, json.dumps([gemini("h"), gemini("i", "STOP")]), kind="application/json")
    assert reply.text == "hi"


@STREAMED
@pytest.mark.parametrize("rest", [b"no chunk\r\n", b"5\r\nabcdefgh\r\n"], ids=["no size", "wrong size"])
async def test_chunks_that_break_end_a_call_at_once(
    provider: Provider, models: Models, on_token: OnToken | None, rest: bytes
) -> None:
    first = b"data: {}\n\n" if provider is not OLLAMA else ollama("h", done=False).encode()
    hung_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(first), first))
        await writer.drain()
        await asyncio.sleep(0.02)  # what breaks is a packet of its own
        writer.write(rest)
        await reader.read()
        hung_up.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        settings = ModelSettings(provider.name, provider.model, api_base=url, timeout=60, **provider.needed)
        await models.prepare([settings])
        started = time.monotonic()
        with pytest.raises(ProviderError, match=r"the answer's chunks are malformed|not in this provider's format"):
            await models.reply(call_of(settings), on_token)
        await asyncio.wait_for(hung_up.wait(), 5)
    assert time.monotonic() - started < 30


async def test_a_client_that_reads_without_a_limit_is_not_used(models: Models) -> None:
    with pytest.raises(ModelRefused, match="use the provider openai_like, which speaks the same format"):
        await models.reply(call_of(ModelSettings("aiohttp_openai", "m", api_base="http://127.0.0.1:9")))
