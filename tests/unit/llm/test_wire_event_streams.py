"""Streams in each provider's own form, written in every way that the format allows, and cut anywhere by the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.models import Models
from support.wire.anthropic import AnthropicDialect
from support.wire.behaviour import Raw, Text
from support.wire.gemini import GeminiDialect
from support.wire.ollama import OllamaDialect
from support.wire.openai import OpenAIDialect
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider
from support.wire.server import Dialect, Request, WireServer

DIALECTS: Final[dict[Provider, Dialect]] = {
    OPENAI: OpenAIDialect(), DIRECT: OpenAIDialect(), ANTHROPIC: AnthropicDialect(), GOOGLE: GeminiDialect(),
    OLLAMA: OllamaDialect(),
}  # fmt: skip
ASKED: Final = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
REQUEST: Final = Request("/api/chat", {"alt": "sse"}, {}, ASKED)
WORDS: Final = ("ä€", " 😀", " two")
EVENTS: Final = pytest.mark.parametrize(
    "provider", [OPENAI, DIRECT, ANTHROPIC, GOOGLE], ids=lambda provider: provider.name
)


def body_of(provider: Provider, words: Sequence[str] = WORDS) -> str:
    before, pieces, after = DIALECTS[provider].stream(REQUEST, Text("".join(words)), words)
    # OpenAI's first chunk has no text, so that nobody would miss it.
    begin = before if provider is ANTHROPIC else ()
    return "".join([*begin, *pieces, *after]).replace("\r\n", "\n")


def call_of(provider: Provider, url: str) -> ModelCall:
    settings = provider.settings(WireServer(url), timeout=30)
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


def with_comments(body: str) -> str:
    return ": hello\n\n" + body.replace("\n\n", "\n\n: ping\nid: 7\nretry: 10\n\n")


FORMS: Final[dict[str, Callable[[str], str]]] = {
    "mark": lambda body: "\ufeff" + body[body.index("data:") :],
    "comments": with_comments,
    "no blank": lambda body: body.replace("data: ", "data:"),
    "crlf": lambda body: body.replace("\n", "\r\n"),
    "cr": lambda body: body.replace("\n", "\r"),
    "several lines": lambda body: body.replace(", ", ",\ndata: "),
    "no end": lambda body: body.rstrip("\n"),
}


@EVENTS
@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_is_read_in_every_form_of_event_streams(provider: Provider, models: Models, form: str) -> None:
    body = FORMS[form](body_of(provider)).encode()
    received: list[str] = []
    async with provider.serve([Raw(body)]) as server:
        reply = await models.reply(call_of(provider, server.url), received.append)
    assert (reply.text, reply.ending.how) == ("".join(WORDS), "stop")
    assert received == list(WORDS)
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (20, 5)


@EVENTS
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
async def test_a_stream_is_read_whatever_media_type_it_claims(provider: Provider, models: Models, kind: str) -> None:
    body = with_comments(body_of(provider)).encode()
    async with provider.serve([Raw(body, kind=kind)]) as server:
        reply = await models.reply(call_of(provider, server.url), lambda token: None)
    assert (reply.text, reply.usage.tokens_out) == ("".join(WORDS), 5)


@asynccontextmanager
async def serving_bytes(pieces: Sequence[bytes], kind: str) -> AsyncIterator[str]:
    """Each piece is a packet of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_a_character_is_joined_wherever_the_network_cuts_it(provider: Provider, models: Models) -> None:
    escaped = body_of(provider, ["@1", "@2"]).encode()
    head, one, rest = escaped.partition(b"@1")
    middle, two, tail = rest.partition(b"@2")
    assert one
    assert two
    bytes_of = [bytes([byte]) for byte in "ä€😀".encode()]
    pieces = [head, *bytes_of, middle, *bytes_of, tail[:3], tail[3:]]
    kind = DIALECTS[provider].stream_type
    async with serving_bytes(pieces, kind) as url:
        reply = await models.reply(call_of(provider, url), lambda token: None)
    assert (reply.text, reply.usage.tokens_in, reply.usage.tokens_out) == ("ä€😀ä€😀", 20, 5)
