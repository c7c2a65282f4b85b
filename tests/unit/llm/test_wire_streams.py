"""What every transport makes of a stream's lines and chunks, in each provider's own form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.models import Models
from support.wire.behaviour import Raw, Text
from support.wire.providers import DIRECT, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
OPENAIS = pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)
BREAKS = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\r\nj\rk\nl data: m\n\ndata: [DONE]\n\nn"


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


@STREAMED
async def test_every_line_break_of_a_text_comes_back(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    async with provider.serve([Text(BREAKS)]) as server:
        reply = await models.reply(call_of(provider.settings(server)), on_token)
    assert reply.text == BREAKS


def event(**delta: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    return data({"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [choice]})


def data(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def streamed(models: Models, provider: Provider, *events: str, kind: str = "text/event-stream") -> ModelReply:
    async with provider.serve([Raw("".join(events).encode(), kind=kind)]) as server:
        return await models.reply(call_of(provider.settings(server)), lambda token: None)


@OPENAIS
@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {}}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant"}}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"index": 0, "delta": {"content": ""}}], "error": None},
        {"usage": None, "error": None, "x_groq": None},
    ],
    ids=str,
)
async def test_a_chunk_without_text_is_no_error(provider: Provider, models: Models, chunk: Any) -> None:
    odd = data(chunk)
    reply = await streamed(models, provider, odd, event(content="hi"), odd, event(), odd, "data: [DONE]\n\n")
    assert reply.text == "hi"


@OPENAIS
@pytest.mark.parametrize(
    "chunk",
    [
        {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ],
    ids=["alone", "with no choices"],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
async def test_the_usage_may_come_in_any_chunk(
    provider: Provider, models: Models, chunk: Any, *, is_first: bool
) -> None:
    chunks = [data({"id": "x", "model": "m", **chunk}), event(content="hi"), event()]
    reply = await streamed(models, provider, *(chunks if is_first else [*chunks[1:], chunks[0]]))
    assert (reply.text, reply.usage) == ("hi", Usage(3, 2))


@OPENAIS
async def test_of_several_replies_in_a_stream_the_first_is_taken_alone(provider: Provider, models: Models) -> None:
    def piece(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": {"content": text}, "finish_reason": reason}

    chunks = [
        [piece(1, "other")], [piece(0, "h")], [piece(1, " one"), piece(0, "i")], [piece(1, "", "length")],
        [piece(0, "", "stop"), piece(1, "")],
    ]  # fmt: skip
    head = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    reply = await streamed(models, provider, *(data({**head, "choices": each}) for each in chunks), "data: [DONE]\n\n")
    assert (reply.text, reply.ending.how) == ("hi", "stop")


@OPENAIS
@pytest.mark.parametrize(
    "events",
    [
        ["\ufeff", event(content="hi"), event()],
        [": ping\n\n", event(content="hi"), ":\n\nid: 7\nretry: 10\n\n", event(), ": ping\n\n"],
        [event(content="hi").replace("data: ", "data:"), event().replace("\n", "\r\n"), "data: [DONE]\r\n\r\n"],
        [event(content="hi").replace(", ", ",\ndata: "), event().replace("\n", "\r")],
        [event(content="hi"), event().rstrip()],
    ],
    ids=["mark", "comments", "no blank", "several lines", "no end"],
)
async def test_a_stream_is_read_as_event_streams_are(provider: Provider, models: Models, events: list[str]) -> None:
    assert (await streamed(models, provider, *events)).text == "hi"


@OPENAIS
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_whole_answer_to_a_request_for_a_stream_is_taken(provider: Provider, models: Models, kind: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    answer = {"id": "x", "created": 1, "model": "m", "object": "chat.completion", "choices": [choice], "usage": usage}
    reply = await streamed(models, provider, "\r\n ", json.dumps(answer), kind=kind)
    assert (reply.text, reply.usage) == ("hi", Usage(3, 2))
    assert reply.first_token_s is not None
