"""What an error says decides what it is, wherever it stands: with a status of its own, in a 200, or in a stream."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from flowyard.errors.steps import ModelError, ModelRefused, ProviderError, RateLimited, ReplyFiltered
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models
from support.wire.behaviour import Behaviour, Odd, Raw, Text
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OPENAI, Provider
from support.wire.server import WireServer

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
OPENAIS = pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
AZURE = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


async def fail(models: Models, provider: Provider, behaviour: Behaviour, on_token: OnToken | None) -> ModelError:
    async with provider.serve([behaviour]) as server:
        with pytest.raises(ModelError) as caught:
            await models.reply(call_of(provider.settings(server, timeout=60)), on_token)
    return caught.value


def answer(status: int, error: Any) -> Raw:
    return Raw(json.dumps({"error": error}).encode(), status=status, kind="application/json")


@STREAMED
async def test_an_account_without_credit_is_no_rate_limit(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    failure = await fail(models, provider, answer(429, error), on_token)
    assert type(failure) is ModelRefused
    assert failure.detail == "the account has no credit left (429): You exceeded your current quota"


@STREAMED
@pytest.mark.parametrize(
    ("details", "wait"), [([RETRY], 7.5), ([{"@type": "Help"}, RETRY], 7.5), ([{"retryDelay": "soon"}], None)], ids=str
)
async def test_googles_retry_info_counts_as_retry_after(
    provider: Provider, models: Models, details: Any, wait: float | None, on_token: OnToken | None
) -> None:
    error = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": details}
    failure = await fail(models, provider, answer(429, error), on_token)
    assert (type(failure), failure.retry_after) == (RateLimited, wait)


@STREAMED
async def test_a_prompt_that_a_filter_blocks_names_the_filter(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = {"code": "content_filter", "message": "policy", "innererror": AZURE}
    failure = await fail(models, provider, answer(400, error), on_token)
    assert type(failure) is ReplyFiltered
    assert failure.detail == "a content filter blocked the prompt: hate: policy"


@STREAMED
@pytest.mark.parametrize(
    ("error", "expected", "detail"),
    [
        ("out of memory", ProviderError, "out of memory"),
        ({"message": "out of memory"}, ProviderError, "out of memory"),
        ({"message": "busy", "type": "overloaded_error"}, ProviderError, "busy"),
        ({"message": "busy", "code": 502}, ProviderError, "the provider failed (502): busy"),
        ({"message": "slow", "code": 429}, RateLimited, "too many requests (429): slow"),
        ({"message": "slow", "type": "rate_limit_error"}, RateLimited, "too many requests (429): slow"),
        ("model 'm' not found, try pulling it first", ModelRefused, None),
        ({"message": "pay", "code": "insufficient_quota"}, ModelRefused, "the account has no credit left: pay"),
        ({"message": "no", "code": "content_filter"}, ReplyFiltered, "a content filter blocked the reply: no"),
        ({"message": "no", "type": "invalid_request_error"}, ModelRefused, "the request was not accepted (400): no"),
    ],
    ids=str,
)
async def test_an_error_in_an_answer_is_read_as_one(
    provider: Provider,
    models: Models,
    error: object,
    expected: type[ModelError],
    detail: str | None,
    on_token: OnToken | None,
) -> None:
    failure = await fail(models, provider, Odd({"error": error}), on_token)
    assert type(failure) is expected
    if detail is None:
        assert failure.detail.startswith(f"no model '{provider.model}' at http://127.0.0.1:")
        assert failure.detail.endswith(f"check its name (404): {error}")
    else:
        assert failure.detail == detail


def completion(**choice: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "half a"}
    choices = [{"index": 0, "message": said, "delta": said, "finish_reason": "stop", **choice}]
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


@STREAMED
@OPENAIS
@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (
            {"object": "error", "message": "4096 at most", "code": 400},
            "the request was not accepted (400): 4096 at most",
        ),
        (completion(error={"message": "it died", "code": 502}), "the provider failed (502): it died"),
        (completion(finish_reason="error", error={"message": "it died"}), "it died"),
    ],
    ids=["as a whole", "beside the reply", "with a reason"],
)
async def test_an_error_is_found_wherever_it_stands(
    provider: Provider, models: Models, value: Any, detail: str, on_token: OnToken | None
) -> None:
    """As vLLM and its like, and OpenRouter, send it."""
    assert (await fail(models, provider, Odd(value), on_token)).detail == detail


@pytest.mark.parametrize("provider", [OPENAI, DIRECT, ANTHROPIC, GOOGLE], ids=lambda provider: provider.name)
@pytest.mark.parametrize(
    ("data", "detail"),
    [('{"message": "busy", "code": 503}', "the provider failed (503): busy"), ("overloaded", "overloaded")],
    ids=["json", "text"],
)
async def test_an_event_that_is_called_an_error_is_one(
    provider: Provider, models: Models, data: str, detail: str
) -> None:
    event = Raw(f"event: error\ndata: {data}\n\n".encode())
    failure = await fail(models, provider, event, lambda token: None)
    assert (isinstance(failure, ProviderError), failure.detail) == (True, detail)


@STREAMED
@OPENAIS
@pytest.mark.parametrize(
    "value",
    [
        completion(message={"content": 5}, delta={"content": 5}),
        completion(message={"content": [5]}, delta={"content": [5]}),
        {**completion(), "choices": {"0": {}}},
        {"detail": "Not authenticated"},
        True,
    ],
    ids=str,
)
async def test_an_answer_in_no_format_comes_without_a_librarys_words_and_a_status_that_nobody_sent(
    provider: Provider, models: Models, value: Any, on_token: OnToken | None
) -> None:
    failure = await fail(models, provider, Odd(value), on_token)
    assert type(failure) is ProviderError
    assert failure.detail in (
        "the answer is not a chat completion",
        "the answer is not in this provider's format",
        "the answer is JSON, but not in this provider's format",
        "the stream ended in the middle of the reply",
    )


@STREAMED
@pytest.mark.parametrize("error", [True, {"message": True}, {"error": {"message": None}}, {"message": "half \ud83d"}])
async def test_an_error_that_says_nothing_is_no_word_of_a_format(
    provider: Provider, models: Models, error: object, on_token: OnToken | None
) -> None:
    failure = await fail(models, provider, answer(500, error), on_token)
    assert failure.detail.startswith("the provider failed (500)")
    assert not failure.detail.endswith((": true", ": null", ": True", ": None"))
    failure.detail.encode()


@STREAMED
async def test_an_answer_that_cant_be_unpacked_is_told_as_such(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    failure = await fail(models, provider, Raw(b"no gzip at all", encoding="gzip"), on_token)
    assert type(failure) is ProviderError
    assert "the answer's compression can't be read" in failure.detail
    failure = await fail(models, provider, Raw(b"no gzip at all", status=429, encoding="gzip"), on_token)
    assert (type(failure), failure.detail) == (RateLimited, "too many requests (429)")


@STREAMED
async def test_an_answer_in_a_compression_that_wasnt_accepted_comes_without_advice(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    failure = await fail(models, provider, Raw(b"no matter", encoding="br"), on_token)
    assert type(failure) is ProviderError
    assert "compress" in failure.detail
    assert "install" not in failure.detail.lower()


@STREAMED
async def test_a_number_that_python_cant_read_comes_without_advice(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    huge = Raw(b'{"choices": %s, "candidates": 1, "message": "error"}' % (b"9" * 5000), kind="application/json")
    failure = await fail(models, provider, huge, on_token)
    assert type(failure) is ProviderError
    assert "digits" not in failure.detail


@STREAMED
async def test_a_header_that_is_too_long_is_told_without_a_librarys_limit(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000 + b"\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(ProviderError, match="the answer has a header that is too long") as caught:
            await models.reply(call_of(replace(provider.settings(WireServer(url)), timeout=60)), on_token)
    assert "8190" not in caught.value.detail


@STREAMED
async def test_a_text_about_errors_is_no_error(provider: Provider, models: Models, on_token: OnToken | None) -> None:
    text = '{"error": "none"} [{"error": {"code": 500}}] <html>'
    async with provider.serve([Text(text)]) as server:
        assert (await models.reply(call_of(provider.settings(server)), on_token)).text == text


@STREAMED
@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/event-stream"])
async def test_a_page_is_reported_as_one_and_not_called_again(
    provider: Provider, models: Models, kind: str, on_token: OnToken | None
) -> None:
    page = Raw(b"\n<!DOCTYPE html><head><title>Sign in</title></head>", kind=kind)
    failure = await fail(models, provider, page, on_token)
    assert type(failure) is ModelRefused
    assert failure.detail.endswith(" answered with an HTML page: Sign in. Is it the address of the API?")


@STREAMED
@pytest.mark.parametrize("status", [429, 200])
async def test_a_pause_that_no_step_waits_for_is_named(
    provider: Provider, models: Models, status: int, on_token: OnToken | None
) -> None:
    slow = {"message": "slow", "code": 429, "details": [{"retryDelay": "3600s"}]}
    behaviour = Odd({"error": slow}) if status == 200 else answer(429, slow)
    failure = await fail(models, provider, behaviour, on_token)
    assert failure.retry_after == 3600
    assert failure.detail.endswith("slow; it demands a pause of 3,600 s, and a step waits for 600 s at most")


async def test_a_connection_that_fails_is_reported_without_the_insides_of_a_library(
    provider: Provider, models: Models
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        settings = ModelSettings(provider.name, provider.model, api_base=f"https://{address}", **provider.needed)
        with pytest.raises(ModelError) as caught:
            await models.reply(call_of(settings))
    assert address in caught.value.detail
    assert "SSLContext" not in caught.value.detail


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5"])
async def test_a_parameter_that_a_model_doesnt_take_comes_without_advice_on_litellm(models: Models, model: str) -> None:
    settings = ModelSettings("openai", model, temperature=0.5)
    with pytest.raises(ModelRefused) as caught:
        await models.reply(call_of(settings))
    assert "temperature=0.5" in caught.value.detail
    assert "drop" not in caught.value.detail
    assert "litellm" not in caught.value.detail.lower()
