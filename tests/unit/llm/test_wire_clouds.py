"""Azure, Bedrock and Vertex AI, which LiteLLM calls at an address of the document's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any, Final

import pytest

from flowyard.errors.steps import (
    MissingApiKey,
    ModelError,
    ModelNotInstalled,
    ModelRefused,
    ProviderError,
    RateLimited,
    ReplyFiltered,
)
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, ReplyEnding
from flowyard.llm.models import Models, check_keys, open_models
from support.wire import bedrock
from support.wire.behaviour import Behaviour, CutStream, Raw, Status, Text
from support.wire.gemini import gemini_server
from support.wire.openai import openai_server
from support.wire.server import WireServer

KEY: Final = "sk-sesame-0123456789"
AWS_KEY: Final = "aws-sesame-0123456789"
ENVIRON: Final = {"AZURE_API_KEY": KEY, "AWS_BEARER_TOKEN_BEDROCK": AWS_KEY, "AWS_REGION": "us-east-1"}
STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
LINE_BREAKS: Final = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
MODELS: Final = {
    "azure": "gpt-4o-mini",
    "bedrock": "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "vertex_ai": "gemini-2.5-flash",
}
EVERY = pytest.mark.parametrize("provider", MODELS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM reads that of the process."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def models(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    async def token(*_: object, **__: object) -> tuple[str, str]:
        return KEY, "a-project"

    async with open_models(ENVIRON) as opened:
        await opened.prepare([ModelSettings("azure", "m", api_base="http://127.0.0.1")])
        # Google's package for tokens isn't among the dependencies, and would ask a server of Google's for them.
        base: Any = import_module("litellm.llms.vertex_ai.vertex_llm_base").VertexBase
        monkeypatch.setattr(base, "get_access_token_async", token)
        yield opened


def call_of(provider: str, server: WireServer) -> ModelCall:
    settings = ModelSettings(provider, MODELS[provider], api_base=server.url.removesuffix("/v1"), timeout=20)
    return ModelCall("write", settings, (ChatMessage("user", "Hi?"),))


async def ask(
    models: Models, provider: str, behaviour: Behaviour, on_token: OnToken | None
) -> tuple[ModelReply, WireServer]:
    serve = gemini_server if provider == "vertex_ai" else openai_server
    async with serve([behaviour]) as server:
        return await models.reply(call_of(provider, server), on_token), server


async def fail(models: Models, provider: str, behaviour: Behaviour, on_token: OnToken | None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await ask(models, provider, behaviour, on_token)
    return caught.value


def text(provider: str, *words: str, on_token: OnToken | None, reason: str = "end_turn") -> Behaviour:
    if provider != "bedrock":
        return Text("".join(words))
    return bedrock.whole("".join(words), reason) if on_token is None else bedrock.streamed(words, reason)


@STREAMED
@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [
        ("azure", "/openai/deployments/gpt-4o-mini/chat/completions", ("api-key", KEY)),
        ("bedrock", f"/model/{MODELS['bedrock']}/converse", ("authorization", f"Bearer {AWS_KEY}")),
        (
            "vertex_ai",
            "/v1/projects/a-project/locations/us-central1/publishers/google/models/gemini-2.5-flash:",
            ("authorization", f"Bearer {KEY}"),
        ),
    ],
    ids=MODELS,
)
async def test_a_reply_comes_with_its_usage_and_cost(
    models: Models, provider: str, path: str, header: tuple[str, str], on_token: OnToken | None
) -> None:
    reply, server = await ask(models, provider, text(provider, LINE_BREAKS, " words", on_token=on_token), on_token)
    assert reply.text == f"{LINE_BREAKS} words"
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (20, 5)
    assert reply.cost_usd is not None
    assert reply.ending == ReplyEnding()
    [request] = server.requests
    assert request.path.startswith(path)
    assert request.headers[header[0]] == header[1]


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/v1", "/openai/v1/"])
async def test_azures_address_may_end_as_its_portal_shows_it(models: Models, ending: str) -> None:
    async with openai_server([Text("hi")]) as server:
        address = server.url.removesuffix("/v1") + ending
        settings = ModelSettings("azure", MODELS["azure"], api_base=address, timeout=20)
        await models.reply(ModelCall("write", settings, (ChatMessage("user", "Hi?"),)))
    assert server.requests[0].path == "/openai/deployments/gpt-4o-mini/chat/completions"


@STREAMED
@EVERY
async def test_a_redirect_is_not_followed(models: Models, provider: str, on_token: OnToken | None) -> None:
    async with openai_server([Text("the prompt went elsewhere")]) as other:
        failure = await fail(models, provider, Status(307, {"Location": other.url}), on_token)
    assert type(failure) is ModelRefused
    assert f"redirects to {other.url.removeprefix('http://').removesuffix('/v1')} (307)" in failure.detail
    assert other.requests == []


@STREAMED
@EVERY
async def test_a_reply_has_a_limit(models: Models, provider: str, on_token: OnToken | None) -> None:
    words = [f"{'x' * 100} "] * 40
    async with open_models(ENVIRON, reply_limit=3000) as limited:
        failure = await fail(limited, provider, text(provider, *words, on_token=on_token), on_token)
    assert failure.detail == "the reply is larger than 3,000 bytes: FLOWYARD_REPLY_LIMIT is the limit"


@STREAMED
@EVERY
async def test_a_page_is_no_answer(models: Models, provider: str, on_token: OnToken | None) -> None:
    page = Raw(b"<html><title>Sign in</title></html>", kind="text/html")
    failure = await fail(models, provider, page, on_token)
    assert type(failure) is ModelRefused
    assert "answered with an HTML page: Sign in" in failure.detail


@STREAMED
@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("max_tokens", ReplyEnding("length")),
        ("guardrail_intervened", ReplyEnding("filtered", "guardrail_intervened")),
        ("content_filtered", ReplyEnding("filtered", "content_filtered")),
    ],
)
async def test_bedrock_says_how_a_reply_ended(
    models: Models, reason: str, ending: ReplyEnding, on_token: OnToken | None
) -> None:
    reply, _ = await ask(models, "bedrock", text("bedrock", "half", on_token=on_token, reason=reason), on_token)
    assert (reply.text, reply.ending) == ("half", ending)


@STREAMED
@pytest.mark.parametrize(
    ("behaviour", "ending"),
    [
        (Text("No.", ending="refused"), ReplyEnding("refused", "No.")),
        (Text("half", ending="filtered"), ReplyEnding("filtered", "hate")),
        (Text("half", ending="length"), ReplyEnding("length")),
    ],
    ids=["refused", "filtered", "length"],
)
async def test_azure_says_how_a_reply_ended(
    models: Models, behaviour: Text, ending: ReplyEnding, on_token: OnToken | None
) -> None:
    reply, _ = await ask(models, "azure", behaviour, on_token)
    assert reply.ending == ending


@STREAMED
async def test_a_prompt_that_azure_blocks_names_the_filter(models: Models, on_token: OnToken | None) -> None:
    results = {"hate": {"filtered": True, "severity": "high"}, "self_harm": {"filtered": False, "severity": "safe"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results}
    error = {"message": "policy", "param": "prompt", "code": "content_filter", "status": 400, "innererror": inner}
    blocked = Raw(json.dumps({"error": error}).encode(), status=400, kind="application/json")
    failure = await fail(models, "azure", blocked, on_token)
    assert type(failure) is ReplyFiltered
    assert failure.detail == "a content filter blocked the prompt: hate: policy"


@STREAMED
async def test_what_vertex_blocks_comes_with_its_reason(models: Models, on_token: OnToken | None) -> None:
    reply, _ = await ask(models, "vertex_ai", Text("half", ending="filtered"), on_token)
    assert reply.ending == ReplyEnding("filtered", "SAFETY")


START: Final = bedrock.event("messageStart", {"role": "assistant"})
HALF: Final = bedrock.event("contentBlockDelta", {"delta": {"text": "half"}, "contentBlockIndex": 0})


@pytest.mark.parametrize(
    ("stream", "detail"),
    [
        (bedrock.frames(START, HALF), "the stream ended in the middle of the reply"),
        (bedrock.frames(START, HALF[:-9]), "the stream ended in the middle of the reply"),
        (bedrock.frames(), "the stream ended in the middle of the reply"),
        (bedrock.frames(START, b"data: {}\n\n" * 9), "the stream is malformed"),
    ],
    ids=["between frames", "in a frame", "before the first", "malformed"],
)
async def test_a_stream_of_bedrocks_that_breaks_off_is_told_in_our_words(
    models: Models, stream: Raw, detail: str
) -> None:
    failure = await fail(models, "bedrock", stream, lambda token: None)
    assert (type(failure), failure.detail) == (ProviderError, detail)


@pytest.mark.parametrize(
    ("kind", "expected"), [("throttlingException", RateLimited), ("modelStreamErrorException", ProviderError)]
)
async def test_an_error_in_a_stream_of_bedrocks_is_read_as_one(
    models: Models, kind: str, expected: type[ModelError]
) -> None:
    error = bedrock.exception(kind, {"message": "no luck"})
    failure = await fail(models, "bedrock", bedrock.frames(START, HALF, error), lambda token: None)
    assert type(failure) is expected
    assert "no luck" in failure.detail


async def test_a_stream_of_azures_that_breaks_off_is_a_provider_error(models: Models) -> None:
    failure = await fail(models, "azure", CutStream(politely=True), lambda token: None)
    assert failure.detail == "the stream ended in the middle of the reply"


async def test_no_error_spells_the_key_of_bedrock(models: Models) -> None:
    async with openai_server([Status(403, message="{key} may not")]) as server:
        with pytest.raises(ModelRefused) as caught:
            await models.reply(call_of("bedrock", server))
    assert AWS_KEY not in str(caught.value)
    assert "*** may not" in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "environ", "extra"),
    [
        ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": AWS_KEY}, {}),
        ("bedrock", {"AWS_PROFILE": "work"}, {}),
        ("bedrock", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, {}),
        ("bedrock", {}, {"aws_region_name": "eu-west-1"}),
        ("azure", {"AZURE_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com"}, {}),
    ],
    ids=str,
)
def test_access_to_a_cloud_is_found_wherever_it_is(
    provider: str, environ: dict[str, str], extra: dict[str, str]
) -> None:
    check_keys([ModelSettings(provider, MODELS[provider], extra=extra)], environ)


def test_access_that_is_missing_is_reported_before_the_run() -> None:
    with pytest.raises(MissingApiKey, match="AWS_BEARER_TOKEN_BEDROCK"):
        check_keys([ModelSettings("bedrock", MODELS["bedrock"])], {})
    with pytest.raises(
        ModelRefused, match="its api_base is missing: write it into the document, or set AZURE_API_BASE"
    ):
        check_keys([ModelSettings("azure", MODELS["azure"])], ENVIRON)
    with pytest.raises(ModelNotInstalled, match="google-auth"):
        check_keys([ModelSettings("vertex_ai", MODELS["vertex_ai"])], {"VERTEXAI_PROJECT": "p"})


def test_a_path_of_credentials_may_contain_what_no_key_does() -> None:
    # Behind the check for the package, which isn't installed here.
    check_provider = import_module("flowyard.llm.litellm_model").check_provider
    settings = ModelSettings("vertex_ai", MODELS["vertex_ai"])
    check_provider(settings, {"GOOGLE_APPLICATION_CREDENTIALS": "/my keys/Ann's key.json"})
