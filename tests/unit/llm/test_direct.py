"""Servers that speak OpenAI's format, at an address of the document's: called without LiteLLM."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest

from flowyard.errors.steps import ModelError, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models, open_models
from support.wire.behaviour import Status, Text
from support.wire.providers import ENVIRON, OPENAI

MESSAGES = (ChatMessage("user", "Hello?"),)
HEADERS = {"extra_headers": {"X-Team": "a-secret-of-the-team"}, "top_k": 3}


def call_of(url: str, **settings: object) -> ModelCall:
    return ModelCall("write", ModelSettings("hosted_vllm", "qwen3", api_base=url, **settings), MESSAGES)  # type: ignore[arg-type]


async def test_headers_of_extra_are_headers_and_the_rest_is_body(models: Models) -> None:
    async with OPENAI.serve([Text("hi")]) as server:
        await models.reply(call_of(server.url, extra=HEADERS))
    request = server.requests[0]
    assert request.headers["x-team"] == "a-secret-of-the-team"
    assert request.body["top_k"] == 3
    assert "extra_headers" not in request.body


async def test_no_error_spells_a_secret_header(models: Models) -> None:
    async with OPENAI.serve([Status(401, message="wrong team: a-secret-of-the-team")]) as server:
        with pytest.raises(ModelError) as caught:
            await models.reply(call_of(server.url, extra=HEADERS))
    assert "a-secret-of-the-team" not in str(caught.value)


async def test_each_call_has_the_address_key_and_headers_of_its_own_settings() -> None:
    """What is remembered of one call is never used for another."""
    environ = {"A_API_KEY": "sk-a-0123456789", "B_API_KEY": "sk-b-0123456789", "OPENAI_API_KEY": "sk-o-0123456789"}
    async with (
        OPENAI.serve([Text("hi")]) as server,
        OPENAI.serve([Text("hi")]) as other,
        open_models(environ) as models,
    ):
        usual = ModelSettings("hosted_vllm", "gpt-5", api_base=server.url, api_key_env="A_API_KEY", max_tokens=9)
        variants = [
            usual,
            replace(usual, api_key_env="B_API_KEY"),
            replace(usual, provider="openai"),
            replace(usual, model="gpt-4o"),
            replace(usual, api_base=other.url),
            replace(usual, api_key_env=None, provider="openai"),
            replace(usual, extra={"headers": {"X-Team": "one"}}),
            replace(usual, extra={"headers": {"X-Team": "two"}}),
            replace(usual, extra={"headers": {"X-Group": "two"}}),
            replace(usual, extra={"extra_headers": {"authorization": "Basic b25l"}}),
            replace(usual, extra={"extra_headers": {"X-API-Key": "one"}}),
        ]
        for settings in variants * 2:
            await models.reply(ModelCall("write", settings, MESSAGES))
    names = "authorization", "x-team", "x-group"
    parts = "model", "max_tokens", "max_completion_tokens"
    sent = [
        (*(request.headers.get(name) for name in names), *(request.body.get(name) for name in parts))
        for request in server.requests
    ]
    of_a, of_b, of_openai = (f"Bearer {key}" for key in environ.values())
    assert sent == 2 * [
        (of_a, None, None, "gpt-5", 9, None),
        (of_b, None, None, "gpt-5", 9, None),
        (of_a, None, None, "gpt-5", None, 9),
        (of_a, None, None, "gpt-4o", 9, None),
        (of_openai, None, None, "gpt-5", None, 9),
        (of_a, "one", None, "gpt-5", 9, None),
        (of_a, "two", None, "gpt-5", 9, None),
        (of_a, None, "two", "gpt-5", 9, None),
        ("Basic b25l", None, None, "gpt-5", 9, None),
        (None, None, None, "gpt-5", 9, None),
    ]
    assert len(other.requests) == 2


async def test_each_reply_is_masked_with_the_secrets_of_its_own_call() -> None:
    environ = {"A_API_KEY": "sk-a-0123456789", "B_API_KEY": "sk-b-0123456789", "C_TOKEN": "token-0123456789"}
    spoken = " ".join(environ.values())
    async with OPENAI.serve([Text(spoken)]) as server, open_models(environ) as models:
        calls = [
            call_of(server.url, api_key_env="A_API_KEY"),
            call_of(server.url, api_key_env="B_API_KEY"),
            # Of a header that doesn't sound secret, only what it refers to is a secret.
            call_of(server.url, api_key_env="A_API_KEY", extra={"headers": {"X-Team": "token-0123456789"}}),
            call_of(server.url, api_key_env="A_API_KEY", extra={"headers": {"X-Team": "${env:C_TOKEN}"}}),
        ]
        replies = [(await models.reply(call)).text for call in calls * 2]
    assert replies == 2 * [
        "*** sk-b-0123456789 token-0123456789",
        "sk-a-0123456789 *** token-0123456789",
        "*** sk-b-0123456789 token-0123456789",
        "*** sk-b-0123456789 ***",
    ]


async def test_a_reply_may_not_be_larger_than_the_setting_says() -> None:
    async with OPENAI.serve([Text("x" * 100)]) as server, open_models(ENVIRON, reply_limit=99) as models:
        with pytest.raises(ProviderError, match="larger than 99 bytes"):
            await models.reply(call_of(server.url))


async def test_litellm_is_never_imported() -> None:
    program = """
import asyncio, sys
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import open_models
async def main():
    async with open_models({}) as models:
        settings = ModelSettings("hosted_vllm", "qwen3", api_base=sys.argv[1])
        await models.prepare([settings])
        reply = await models.reply(ModelCall("n", settings, (ChatMessage("user", "hi"),)))
        print(reply.text, "litellm" in sys.modules)
asyncio.run(main())
"""
    async with OPENAI.serve([Text("hello")]) as server:
        shown = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, server.url], capture_output=True, text=True, timeout=30
        )
    assert shown.stdout.split() == ["hello", "False"], shown.stderr


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 200_000,
        b"not HTTP\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnot!",
        HEAD + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nnot!",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nno chunk",
        HEAD + b"Content-Length: 100\r\n\r\nshort",
        HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["nests too deeply", "not HTTP", "not gzip", "not brotli", "broken chunk", "too short", "long header"],
)
async def test_an_answer_that_cant_be_read_is_a_provider_error(
    models: Models, answer: bytes, on_token: OnToken | None
) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderError) as caught:
            await models.reply(call_of(f"http://127.0.0.1:{port}/v1"), on_token)
    assert type(caught.value) is ProviderError
