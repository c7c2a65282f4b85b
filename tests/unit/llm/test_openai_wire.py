"""What only the direct path to an OpenAI-compatible server does. Its other promises: test_wire_*.py."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import pytest

from flowyard.errors.steps import ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import MAX_TOKENS, REPLY_LIMIT, ChatMessage, ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.openai_wire import Endpoint, chat, open_session
from support.wire.behaviour import Behaviour, Json, Late, Odd, Raw, Text
from support.wire.openai import openai_server
from support.wire.server import WireServer

KEY = "sk-sesame-0123456789"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
Ask = Callable[..., Any]
END = b"0\r\n\r\n"


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[tuple[WireServer, Ask]]:
    async with openai_server([behaviour]) as server, open_session() as session:

        async def send(
            on_token: OnToken | None = None, schema: Any = None, limit: int = REPLY_LIMIT, **settings: Any
        ) -> ModelReply:
            call = ModelCall("write", ModelSettings("local", "m", **settings), (ChatMessage("user", "Hello?"),), schema)
            endpoint = Endpoint(server.url, "m", KEY, reply_limit=limit)
            return (await chat(session, endpoint, call, on_token, max_tokens=99))[0]

        yield server, send


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_reply_comes_with_its_usage(*, streamed: bool) -> None:
    tokens: list[str] = []
    async with serving(Text("a small reply", cached=4)) as (_, send):
        reply = await send(tokens.append if streamed else None)
    assert (reply.text, reply.usage, reply.cost_usd) == ("a small reply", Usage(20, 5, 4), None)
    assert tokens == (["a", " small", " reply"] if streamed else [])
    assert (reply.first_token_s is not None) == streamed


async def test_the_first_token_is_timed_from_the_request_on() -> None:
    async with serving(Late(Text("a small reply"), 0.2)) as (_, send):
        reply = await send(lambda _: None)
    assert reply.first_token_s >= 0.2


@pytest.mark.parametrize(
    ("server", "rest", "connections"),
    [(b"uvicorn", END, 1), (b"uvicorn", b"", 3), (b"uvicorn", b"no chunk", 3), (b"llama.cpp", END, 3)],
    ids=["ended", "open", "broken", "one that leaves"],
)
async def test_a_connection_is_used_again_once_its_stream_has_ended(
    server: bytes, rest: bytes, connections: int
) -> None:
    made: list[asyncio.StreamWriter] = []
    gone = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(writer)
        events = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
        chunk = b"%x\r\n%s\r\n" % (len(events), events)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0][15:]))
                writer.write(b"HTTP/1.1 200 OK\r\nServer: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % server)
                writer.write(chunk)
                await asyncio.sleep(0.01)  # the rest is a packet of its own
                writer.write(rest)
        writer.close()
        gone.release()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint = Endpoint(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "m", None)
    call = ModelCall("write", ModelSettings("local", "m"), (ChatMessage("user", "Hello?"),), None)
    async with open_session() as session:
        replies = [await chat(session, endpoint, call, lambda _: None, max_tokens=9) for _ in range(3)]
    listening.close()
    for _ in made:
        await asyncio.wait_for(gone.acquire(), 5)
    assert [reply.text for reply, _ in replies] == ["hi"] * 3
    assert len(made) == connections


@STREAMED
@pytest.mark.parametrize(
    ("reported", "known"),
    [
        ({"prompt_tokens": "3", "completion_tokens": 5}, Usage(None, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 3_000_000_000}, Usage(3, None)),
        ({"prompt_tokens": MAX_TOKENS, "completion_tokens": -1}, Usage(MAX_TOKENS, None)),
        ({"prompt_tokens": 3.5, "completion_tokens": 5.0}, Usage(None, 5)),
        ({"prompt_tokens": True, "completion_tokens": [5]}, Usage()),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage()),
        ({"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": -1}}, Usage(0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": [4]}, Usage(3)),
        ("plenty", Usage()),
        ([1], Usage()),
        (7, Usage()),
        (None, Usage()),
    ],
    ids=str,
)
async def test_a_usage_that_cant_be_so_is_unknown_and_the_reply_is_kept(
    reported: object, known: Usage, on_token: OnToken | None
) -> None:
    said = {"content": "a reply"}
    answer = {"choices": [{"message": said, "delta": said, "finish_reason": "stop"}], "usage": reported}
    async with serving(Odd(answer)) as (_, send):
        reply = await send(on_token)
    assert (reply.text, reply.usage) == ("a reply", known)


async def test_the_request_carries_key_schema_and_settings() -> None:
    async with serving(Json({"n": 1})) as (server, send):
        await send(schema=SCHEMA, temperature=0, extra={"seed": 7, "model": "other"})
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["response_format"]["json_schema"] == {"name": "reply", "strict": False, "schema": SCHEMA}
    wanted = {"model": "m", "temperature": 0, "seed": 7, "max_tokens": 99}
    assert {name: request.body[name] for name in wanted} == wanted


async def test_a_content_that_is_no_text_is_a_provider_error() -> None:
    async with serving(Odd({"choices": [{"message": {"content": ["a", "b"]}}]})) as (_, send):
        with pytest.raises(ProviderError, match="not a chat completion"):
            await send()


def test_an_endpoint_doesnt_show_its_key() -> None:
    assert KEY not in repr(Endpoint("http://127.0.0.1", "m", KEY))


def event(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \n"], ids=["bare", "mark", "blank"])
async def test_a_whole_answer_to_a_request_for_a_stream_is_read(before: bytes) -> None:
    answer = {"choices": [{"message": {"content": "a reply"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    tokens: list[str] = []
    async with serving(Raw(before + json.dumps(answer).encode(), kind="application/json")) as (_, send):
        reply = await send(tokens.append)
    assert (reply.text, reply.usage, tokens) == ("a reply", Usage(3, 2), ["a reply"])
    assert reply.first_token_s is not None


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""], ids=["ended", "open"])
async def test_a_stream_that_nobody_asked_for_is_one_reply(end: bytes) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    body = event(content="a") + event(content=" reply") + event() + b"data: " + json.dumps(usage).encode() + b"\n\n"
    async with serving(Raw(body + end, kind="text/event-stream")) as (server, send):
        reply = await send()
    assert "stream" not in server.requests[0].body
    assert (reply.text, reply.usage) == ("a reply", Usage(3, 2))


async def test_a_stream_that_nobody_asked_for_may_not_end_in_the_middle() -> None:
    async with serving(Raw(event(content="a"), kind="text/event-stream")) as (_, send):
        with pytest.raises(ProviderError, match="the stream ended in the middle of the reply"):
            await send()


@STREAMED
async def test_a_reply_may_not_be_larger_than_the_limit(on_token: OnToken | None) -> None:
    async with serving(Text("x" * 1001)) as (_, send):
        with pytest.raises(ProviderError, match=r"larger than 1,000 bytes: FLOWYARD_REPLY_LIMIT is the limit"):
            await send(on_token, limit=1000)
        assert (await send(on_token, limit=3000)).text == "x" * 1001


@STREAMED
async def test_without_a_setting_a_reply_may_have_4_mb(on_token: OnToken | None) -> None:
    for size, is_taken in ((3_990_000, True), (4_000_001, False)):
        answer = json.dumps({"choices": [{"message": {"content": "x" * size}}]}).encode()
        async with serving(Raw(answer, kind="application/json")) as (_, send):
            with nullcontext() if is_taken else pytest.raises(ProviderError, match=r"larger than 4,000,000 bytes"):
                assert len((await send(on_token)).text) == size


@STREAMED
async def test_a_whole_answer_may_not_be_larger_than_the_limit_whatever_is_in_it(on_token: OnToken | None) -> None:
    answer = {"choices": [{"message": {"content": "hi", "reasoning_content": "x" * 1000}}]}
    async with serving(Raw(json.dumps(answer).encode(), kind="application/json")) as (_, send):
        with pytest.raises(ProviderError, match=r"larger than 1,000 bytes"):
            await send(on_token, limit=1000)
        assert (await send(on_token, limit=2000)).text == "hi"


@STREAMED
async def test_what_counts_is_the_size_of_what_was_packed(on_token: OnToken | None) -> None:
    packed = gzip.compress(json.dumps({"choices": [{"message": {"content": "x" * 10_000_000}}]}).encode())
    assert len(packed) < 20_000
    async with serving(Raw(packed, encoding="gzip")) as (_, send):
        with pytest.raises(ProviderError, match=r"larger than 1,000,000 bytes"):
            await send(on_token, limit=1_000_000)


async def test_a_prompt_may_be_large() -> None:
    async with serving(Text("hi")) as (server, send):
        await send(extra={"documents": "x" * 2_000_000})
    assert len(server.requests[0].body["documents"]) == 2_000_000


async def test_an_error_that_nests_too_deeply_is_a_failure_like_any_other() -> None:
    async with serving(Raw(b"[" * 60_000, status=500)) as (_, send):
        with pytest.raises(ProviderError, match="failed"):
            await send()


async def test_a_stream_without_text_may_not_be_endless() -> None:
    async with serving(Raw(b": still working\n\n" * 1000 + event(content="hi") + event())) as (_, send):
        assert (await send(lambda _: None, limit=2000)).text == "hi"
        with pytest.raises(ProviderError, match="larger than 1,000 bytes"):
            await send(lambda _: None, limit=1000)


async def test_of_an_error_only_the_beginning_is_read() -> None:
    async with serving(Raw(b'{"error": "' + b"x" * 64_000 + b'secret"}', status=500)) as (_, send):
        with pytest.raises(ProviderError, match=r"the provider failed \(500\): \{\"error\": \"xxx"):
            await send()


async def test_a_line_without_end_is_a_provider_error() -> None:
    async with serving(Raw(b"data: " + b"x" * 1_100_000)) as (_, send):
        with pytest.raises(ProviderError, match="a line of the stream is longer than"):
            await send(lambda _: None)


@pytest.mark.parametrize(
    "first",
    [
        {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]},
        {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}},
    ],
    ids=["at the top", "in a choice", "in a field of Groq's"],
)
async def test_the_usage_may_come_in_any_chunk_and_the_last_counts(first: Any) -> None:
    early = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    chunks = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in (early, first)]
    async with serving(Raw(b"".join(chunks) + event(content="hi") + event())) as (_, send):
        reply = await send(lambda _: None)
    assert (reply.text, reply.usage) == ("hi", Usage(3, 2))


@STREAMED
async def test_an_error_in_an_answer_is_reported_in_its_words(on_token: OnToken | None) -> None:
    async with serving(Odd({"error": {"message": "out of memory"}})) as (_, send):
        with pytest.raises(ProviderError, match=r"local/m: out of memory$"):
            await send(on_token)
