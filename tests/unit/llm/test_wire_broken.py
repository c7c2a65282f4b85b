"""What can't be read within an answer: never a reason to lose a part of the reply without a word."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest

from flowyard.errors.steps import ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken
from flowyard.llm.models import Models
from support.wire.anthropic import AnthropicDialect
from support.wire.behaviour import Raw, Text
from support.wire.gemini import GeminiDialect
from support.wire.ollama import OllamaDialect
from support.wire.openai import OpenAIDialect
from support.wire.providers import ANTHROPIC, GOOGLE, OLLAMA, Provider
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
    ids=["no end", "crlf", "bom", "blank", "null", "no message", "no content", "after the end", "event", "bare end"],
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
