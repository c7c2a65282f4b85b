"""What can't be read within an answer: never a reason to lose a part of the reply without a word."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

import pytest

from flowyard.errors.steps import ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.models import Models
from support.wire.anthropic import AnthropicDialect
from support.wire.behaviour import Raw, Text
from support.wire.gemini import GeminiDialect
from support.wire.ollama import OllamaDialect
from support.wire.openai import OpenAIDialect
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider
from support.wire.server import Dialect, Request

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
DIALECTS: Final[dict[Provider, Dialect]] = {
    ANTHROPIC: AnthropicDialect(), GOOGLE: GeminiDialect(), OLLAMA: OllamaDialect()
}  # fmt: skip
REQUEST: Final = Request("/models/m:streamGenerateContent", {"alt": "sse"}, {}, {"model": "m", "stream": True})


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


async def reply_of(models: Models, provider: Provider, *pieces: str, kind: str) -> ModelReply:
    async with provider.serve([Raw("".join(pieces).encode(), kind=kind)]) as server:
        return await models.reply(call_of(provider.settings(server)), lambda token: None)


def ollama(text: str, *, done: bool) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done}) + "\n"


def with_broken(provider: Provider, broken: str) -> tuple[str, str]:
    """A stream of three words with something in its middle, and its media type."""
    if provider is OLLAMA:
        lines = [ollama("one", done=False), f"{broken}\n", ollama(" two", done=False), ollama(" three", done=True)]
        return "".join(lines), "application/x-ndjson"
    dialect = DIALECTS.get(provider, OpenAIDialect())
    before, pieces, after = dialect.stream(REQUEST, Text("one two three"), ["one", " two", " three"])
    return "".join([*before, pieces[0], f"data: {broken}\n\n", *pieces[1:], *after]), "text/event-stream"


@pytest.mark.parametrize("broken", ['{"id": "x", "cho', "Internal error", '{"a": 1}{"b": 2}', "[1]", "5", "[" * 5000])
async def test_an_event_that_cant_be_read_never_takes_a_part_of_the_reply_with_it(
    provider: Provider, models: Models, broken: str
) -> None:
    body, kind = with_broken(provider, broken)
    with pytest.raises(ProviderError) as caught:
        await reply_of(models, provider, body, kind=kind)
    assert "recursion" not in str(caught.value)
    assert "Expecting" not in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        [ollama("hi", done=True).rstrip("\n")],
        [json.dumps(json.loads(ollama("hi", done=True)), indent=2)],
        [ollama("hi", done=True).replace("\n", "\r\n")],
        ["\ufeff", ollama("hi", done=True)],
        ["\n\n", ollama("hi", done=False), "\n", ollama("", done=True)],
        [json.dumps({"model": "m", "message": None, "done": False}), "\n", ollama("hi", done=True)],
        [json.dumps({"model": "m", "done": False}), "\n", ollama("hi", done=True)],
        [json.dumps({"model": "m", "message": {"content": None}, "done": False}), "\n", ollama("hi", done=True)],
        [ollama("hi", done=True), ollama(" and more", done=False)],
        ["data: ", ollama("hi", done=True), "\n"],
        [ollama("hi", done=False), json.dumps({"model": "m", "done": True}), "\n"],
    ],
    ids=[
        "no end",
        "pretty",
        "crlf",
        "bom",
        "blank",
        "null",
        "no message",
        "no content",
        "after the end",
        "event",
        "bare end",
    ],
)
async def test_lines_of_ollamas_are_read_whatever_is_around_them(models: Models, lines: list[str]) -> None:
    reply = await reply_of(models, OLLAMA, *lines, kind="application/x-ndjson")
    assert (reply.text, reply.ending.how) == ("hi", "stop")


@pytest.mark.parametrize("line", [ollama("more", done=False)[:30], "{", ""])
async def test_a_stream_of_ollamas_that_ends_within_a_line_was_cut_off(models: Models, line: str) -> None:
    with pytest.raises(ProviderError, match="the stream ended in the middle of the reply"):
        await reply_of(models, OLLAMA, ollama("hi", done=False), line, kind="application/x-ndjson")


@STREAMED
async def test_what_isnt_utf_8_is_replaced(provider: Provider, models: Models, on_token: OnToken | None) -> None:
    dialect = DIALECTS.get(provider, OpenAIDialect())
    # OpenAI's dialect for requests of our own, Ollama's for those through LiteLLM.
    request = replace(REQUEST, path="/api/chat") if provider is OLLAMA else REQUEST
    if on_token is None:
        text, kind = json.dumps(dialect.whole(request, Text("half @"))), "application/json"
    else:
        parts = dialect.stream(request, Text("half @"), ["half @"])
        text, kind = "".join(piece for pieces in parts for piece in pieces), dialect.stream_type
    body = text.encode().replace(b"@", b"\xe2\x82")
    async with provider.serve([Raw(body, kind=kind)]) as server:
        reply = await models.reply(call_of(provider.settings(server)), on_token)
    assert reply.text.rstrip("\ufffd") == "half "
    assert reply.text.endswith("\ufffd")


@STREAMED
@pytest.mark.parametrize("nothing", ["null", "false", '""', "{}", "[]", "0"])
async def test_an_error_that_is_none_is_no_error(
    provider: Provider, models: Models, on_token: OnToken | None, nothing: str
) -> None:
    dialect = DIALECTS.get(provider, OpenAIDialect())
    request = replace(REQUEST, path="/api/chat") if provider is OLLAMA else REQUEST
    if on_token is None:
        text, kind = json.dumps(dialect.whole(request, Text("a reply"))), "application/json"
    else:
        parts = dialect.stream(request, Text("a reply"), ["a", " reply"])
        text, kind = "".join(piece for pieces in parts for piece in pieces), dialect.stream_type
    body = re.sub(r"^(data: )?\{", rf'\1{{"error": {nothing}, ', text, flags=re.MULTILINE)
    assert body != text
    async with provider.serve([Raw(body.encode(), kind=kind)]) as server:
        assert (await models.reply(call_of(provider.settings(server)), on_token)).text == "a reply"


GEMINI_END: Final = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}


def events(*values: Any) -> str:
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values)


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"candidates": None},
        {"candidates": []},
        {"candidates": [{"index": 0}]},
        {"candidates": [{"index": 0, "content": None}]},
        {"candidates": [{"index": 0, "content": {"role": "model"}}]},
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": None}}]},
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": []}}], "error": None},
        {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}},
    ],
    ids=str,
)
async def test_a_chunk_of_googles_without_text_is_no_error(models: Models, chunk: Any) -> None:
    reply = await reply_of(models, GOOGLE, events(chunk, GEMINI_END), kind="text/event-stream")
    assert (reply.text, reply.usage) == ("hi", Usage(3, 2))


def claude(message: Any, *odd: Any, reason: str = "end_turn") -> str:
    start: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return events(
        {"type": "message_start", "message": {**start, **message}},
        *odd,
        block,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    )


COUNTED: Final = {"usage": {"input_tokens": 3, "output_tokens": 1}}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": "ping"},
        {"type": "a_new_event", "x": 1},
        {"type": "ping", "error": None},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "a_new_delta", "x": 1}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
    ],
    ids=str,
)
async def test_an_event_of_anthropics_without_text_is_no_error(models: Models, odd: Any) -> None:
    reply = await reply_of(models, ANTHROPIC, claude(COUNTED, odd), kind="text/event-stream")
    assert (reply.text, reply.usage.tokens_in, reply.usage.tokens_out) == ("hi", 3, 5)


@pytest.mark.parametrize("message", [{"usage": None}, {"usage": {}}], ids=str)
async def test_a_prompt_that_anthropic_hasnt_counted_is_unknown(models: Models, message: Any) -> None:
    reply = await reply_of(models, ANTHROPIC, claude(message), kind="text/event-stream")
    assert (reply.text, reply.usage.tokens_in, reply.cost_usd) == ("hi", None, None)


@STREAMED
@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        (ANTHROPIC, "pause_turn"),
        (GOOGLE, "MALFORMED_FUNCTION_CALL"),
        (GOOGLE, "MALFORMED_RESPONSE"),
        (OPENAI, "error"),
        (OPENAI, "network_error"),
        (DIRECT, "error"),
        (DIRECT, "network_error"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
async def test_a_reply_that_the_provider_gave_up_is_none(
    models: Models, provider: Provider, reason: str, on_token: OnToken | None
) -> None:
    body = ended(provider, reason, is_streamed=on_token is not None)
    with pytest.raises(ProviderError, match=f"stopped in the middle of the reply: {reason}"):
        await ask(models, provider, body, on_token)


@STREAMED
async def test_a_reply_for_which_the_models_memory_was_too_small_was_cut_off(
    models: Models, on_token: OnToken | None
) -> None:
    body = ended(ANTHROPIC, "model_context_window_exceeded", is_streamed=on_token is not None)
    assert (await ask(models, ANTHROPIC, body, on_token)).ending.how == "length"


async def ask(models: Models, provider: Provider, body: str, on_token: OnToken | None) -> ModelReply:
    kind = "application/json" if on_token is None else "text/event-stream"
    async with provider.serve([Raw(body.encode(), kind=kind)]) as server:
        return await models.reply(call_of(provider.settings(server)), on_token)


def ended(provider: Provider, reason: str, *, is_streamed: bool) -> str:
    """The answer `hi`, which ended for this reason."""
    dialect = DIALECTS.get(provider, OpenAIDialect())
    if not is_streamed:
        text = json.dumps(dialect.whole(REQUEST, Text("hi")))
    else:
        text = "".join(piece for pieces in dialect.stream(REQUEST, Text("hi"), ["hi"]) for piece in pieces)
    for usual in ('"end_turn"', '"STOP"', '"stop"'):
        text = text.replace(f'"stop_reason": {usual}', f'"stop_reason": "{reason}"')
        text = text.replace(f'"finishReason": {usual}', f'"finishReason": "{reason}"')
        text = text.replace(f'"finish_reason": {usual}', f'"finish_reason": "{reason}"')
    return text
