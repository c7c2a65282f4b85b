"""A reply has a limit on every transport, and a call's timeout holds whatever a server sends."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache

import pytest

from flowyard.errors.steps import ModelNeverRan, ModelTimeout, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models, open_models
from support.wire.behaviour import Raw, Text
from support.wire.providers import ANTHROPIC, ENVIRON, GOOGLE, LITELLM, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
LONG = " ".join(["x" * 100] * 30)


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


@STREAMED
async def test_a_reply_may_not_be_larger_than_the_limit(provider: Provider, on_token: OnToken | None) -> None:
    async with (
        open_models(ENVIRON, reply_limit=3000, litellm=LITELLM) as models,
        provider.serve([Text(LONG)]) as server,
    ):
        with pytest.raises(ProviderError, match=r"larger than 3,000 bytes: FLOWYARD_REPLY_LIMIT is the limit"):
            await models.reply(call_of(provider.settings(server)), on_token)
    async with (
        open_models(ENVIRON, reply_limit=4000, litellm=LITELLM) as models,
        provider.serve([Text(LONG)]) as server,
    ):
        assert (await models.reply(call_of(provider.settings(server)), on_token)).text == LONG


@STREAMED
async def test_a_large_error_is_reported_at_once(provider: Provider, models: Models, on_token: OnToken | None) -> None:
    body = json.dumps({"error": {"message": "x" * 4_000_000}}).encode()
    async with provider.serve([Raw(body, status=500, kind="application/json")]) as server:
        await models.prepare([provider.settings(server)])
        started = time.process_time()
        with pytest.raises(ModelNeverRan, match=r"the provider failed \(500\)"):
            await models.reply(call_of(provider.settings(server)), on_token)
    assert time.process_time() - started < 2


@STREAMED
async def test_the_limit_counts_what_is_compressed_in_full(provider: Provider, on_token: OnToken | None) -> None:
    async with serving(bomb(), b"Content-Encoding: gzip\r\n") as url, open_models(ENVIRON, litellm=LITELLM) as models:
        settings = ModelSettings(provider.name, provider.model, api_base=url, **provider.needed)
        with pytest.raises(ProviderError, match=r"(larger|longer) than"):
            await models.reply(call_of(settings), on_token)


@cache
def bomb() -> bytes:
    """100 MB in 100 kB."""
    return gzip.compress(b"\n" + b"x" * 100_000_000, 1)


@pytest.mark.parametrize("provider", [ANTHROPIC, GOOGLE], ids=lambda provider: provider.name)
@pytest.mark.parametrize("encoding", ["zstd", "gzip, gzip", "br"])
async def test_no_answer_is_unpacked_that_may_grow_without_limit(
    provider: Provider, models: Models, encoding: str
) -> None:
    async with serving(b"no matter", f"Content-Encoding: {encoding}\r\n".encode()) as url:
        settings = ModelSettings(provider.name, provider.model, api_base=url, **provider.needed)
        with pytest.raises(ProviderError, match=f"compressed by {encoding}, which wasn't accepted"):
            await models.reply(call_of(settings))
    async with provider.serve([Text("hi")]) as server:
        await models.reply(call_of(provider.settings(server)))
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


@asynccontextmanager
async def serving(
    chunk: bytes, headers: bytes = b"", *, times: int = 1, kind: bytes = b"text/event-stream"
) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n%s\r\n"
        writer.write(head % (kind, headers))
        try:
            for _ in range(times):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@STREAMED
async def test_an_endless_line_ends_a_call(provider: Provider, models: Models, on_token: OnToken | None) -> None:
    kind = b"application/json" if on_token is None else b"text/event-stream"
    async with serving(b"data: " + b"x" * 60_000, times=1_000_000_000, kind=kind) as url:
        settings = ModelSettings(provider.name, provider.model, api_base=url, **provider.needed)
        await models.prepare([settings])
        started = time.process_time()
        with pytest.raises(ProviderError, match=r"(larger|longer) than"):
            await models.reply(call_of(settings), on_token)
    assert time.process_time() - started < 2


async def test_a_timeout_holds_while_a_stream_without_text_runs(provider: Provider, models: Models) -> None:
    async with serving(b": still here\n\n" * 50, times=1_000_000_000) as url:
        settings = ModelSettings(provider.name, provider.model, api_base=url, timeout=0.2, **provider.needed)
        started = time.monotonic()
        with pytest.raises(ModelTimeout):
            await models.reply(call_of(settings), lambda token: None)
    assert time.monotonic() - started < 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "drop", "on_token"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", None),
        (HEAD % b"application/json", b"1\r\n \r\n", None),
        (HEAD % b"text/event-stream", b"1\r\n:\r\n", lambda token: None),
        (HEAD.replace(b"200 OK", b"500 No") % b"application/json", b"1\r\n \r\n", lambda token: None),
    ],
    ids=["headers", "answer", "stream", "error"],
)
async def test_a_timeout_holds_while_an_answer_drips(
    provider: Provider, models: Models, start: bytes, drop: bytes, on_token: OnToken | None
) -> None:
    hung_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(start)
            while not writer.is_closing():
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        hung_up.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = ModelSettings(provider.name, provider.model, api_base=url, timeout=0.3, **provider.needed)
        await models.prepare([settings])
        started = time.monotonic()
        with pytest.raises(ModelTimeout, match=r"no answer within 0\.3 s"):
            await models.reply(call_of(settings), on_token)
        assert time.monotonic() - started < 3
        await asyncio.wait_for(hung_up.wait(), 3)
