"""What an error says decides what it is, wherever it stands: with a status of its own, in a 200, or in a stream."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from flowyard.errors.steps import ModelError, ModelRefused, ProviderError, RateLimited, ReplyFiltered
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models
from support.wire.behaviour import Behaviour, Odd, Raw, Text
from support.wire.providers import Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
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
        ({"message": "pay", "code": "insufficient_quota"}, ModelRefused, "the account has no credit left: pay"),
        ({"message": "no", "code": "content_filter"}, ReplyFiltered, "a content filter blocked the reply: no"),
        ({"message": "no", "type": "invalid_request_error"}, ModelRefused, "the request was not accepted (400): no"),
    ],
    ids=str,
)
async def test_an_error_in_an_answer_is_read_as_one(
    provider: Provider, models: Models, error: object, expected: type[ModelError], detail: str, on_token: OnToken | None
) -> None:
    failure = await fail(models, provider, Odd({"error": error}), on_token)
    assert (type(failure), failure.detail) == (expected, detail)


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


async def test_a_pause_that_no_step_waits_for_is_named(provider: Provider, models: Models) -> None:
    slow = {"message": "slow", "code": 429, "details": [{"retryDelay": "3600s"}]}
    failure = await fail(models, provider, answer(429, slow), None)
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
