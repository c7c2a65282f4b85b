"""Every way in which a provider fails is one of our errors, after one request, in one line, without the key.

What every transport promises: the fixture `provider` is each of them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from dataclasses import replace

import pytest

from flowyard.errors.steps import ModelError, ModelNeverRan, ModelRefused, ModelTimeout, ProviderError, RateLimited
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models, open_models
from flowyard.llm.providers import base_variables
from support.wire.behaviour import Behaviour, CutStream, Hang, HangUp, Malformed, Odd, Raw, Status, Text
from support.wire.providers import ANTHROPIC, DIRECT, ENVIRON, KEY, LITELLM, OLLAMA, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])

ODD_ANSWERS: list[object] = [
    {},
    [],
    None,
    {"choices": []},
    {"choices": [{}]},
    {"content": 5},
    {"candidates": [{}]},
    {"message": None},
    {"choices": [{"message": None}]},
    {"choices": [{"delta": 5}]},
]


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


async def fail(models: Models, provider: Provider, behaviour: Behaviour, on_token: OnToken | None) -> ModelError:
    async with provider.serve([behaviour]) as server:
        with pytest.raises(ModelError) as caught:
            await models.reply(call_of(provider.settings(server, timeout=60)), on_token)
        assert len(server.requests) == 1
    return caught.value


@STREAMED
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Status(400), ModelRefused),
        (Status(401), ModelRefused),
        (Status(403), ModelRefused),
        (Status(404), ModelRefused),
        (Status(429), RateLimited),
        (Status(500), ModelNeverRan),
        (Status(503), ModelNeverRan),
        (Status(529), ModelNeverRan),
        (Malformed(), ProviderError),
        (CutStream(), ProviderError),
        (CutStream(after=0), ProviderError),
        (HangUp(), ProviderError),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'code', '')}" if isinstance(value, Behaviour) else "",
)
async def test_a_failure_on_the_wire_has_its_class(
    provider: Provider, models: Models, behaviour: Behaviour, expected: type[ModelError], on_token: OnToken | None
) -> None:
    error = await fail(models, provider, behaviour, on_token)
    assert type(error) is expected
    assert "\n" not in error.message
    assert "litellm" not in error.message.lower()
    assert len(error.message) < 400


@STREAMED
@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=str)
async def test_json_of_another_form_is_a_provider_error(
    provider: Provider, models: Models, answer: object, on_token: OnToken | None
) -> None:
    error = await fail(models, provider, Odd(answer), on_token)
    assert type(error) is ProviderError
    assert "litellm" not in error.message.lower()
    assert "Traceback" not in error.message


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, OLLAMA, DIRECT], ids=lambda provider: provider.name)
async def test_a_stream_that_ends_politely_but_too_early_is_a_provider_error(
    provider: Provider, models: Models
) -> None:
    error = await fail(models, provider, CutStream(politely=True), lambda token: None)
    assert isinstance(error, ProviderError)
    assert "ended in the middle" in error.detail


@STREAMED
async def test_a_provider_that_wants_a_pause_says_how_long(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = await fail(models, provider, Status(429, {"Retry-After": "2"}), on_token)
    assert error.retry_after == 2
    used_up = {
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m2s",
        "x-ratelimit-reset-requests": "9s",
    }
    error = await fail(models, provider, Status(429, used_up), on_token)
    assert error.retry_after == 62


@STREAMED
async def test_the_key_is_in_no_message_and_in_no_traceback(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = await fail(models, provider, Status(401, message="wrong key: {key}"), on_token)
    assert "wrong key" in error.message
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://", "http://:80", "ftp://127.0.0.1", "http://a b", "http://" + "a." * 200, "http://x\x00y",
     "http://127.0.0.1:99999", "http://no-such-host.invalid", "http://\u2028", "http://..", "http:// "],
    ids=lambda address: ascii(address)[:30],
)  # fmt: skip
async def test_an_address_that_is_none_is_a_model_error(provider: Provider, models: Models, address: str) -> None:
    needed = {**provider.needed, "api_base": address, "timeout": 5}
    with pytest.raises(ModelError) as caught:
        await models.reply(call_of(ModelSettings(provider.name, provider.model, **needed)))
    assert " ssl:" not in str(caught.value)
    assert "chat completion" not in str(caught.value)


PATHS = {
    "openai": ("/v1", "/v1/chat/completions"),
    "hosted_vllm": ("/v1", "/v1/chat/completions"),
    "anthropic": ("/v1", "/v1/messages"),
    "google": ("/v1beta", "/v1beta/models/gemini-2.5-flash:generateContent"),
    "ollama": ("/v1", "/api/chat"),
}
"""By provider: the version that an address may end with, and the path of a call."""


@pytest.mark.parametrize("slashes", ["", "/", "//"])
@pytest.mark.parametrize("is_versioned", [False, True], ids=["host", "version"])
async def test_an_address_may_end_with_a_slash_and_a_version(
    provider: Provider, models: Models, slashes: str, *, is_versioned: bool
) -> None:
    version, path = PATHS[provider.name]
    async with provider.serve([Text("hi")]) as server:
        address = server.url.removesuffix("/v1") + (version if is_versioned else "") + slashes
        assert (await models.reply(call_of(provider.settings(server, api_base=address)))).text == "hi"
    assert server.requests[0].path == path


@STREAMED
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_its_host_is_named(
    provider: Provider, models: Models, status: int, on_token: OnToken | None
) -> None:
    async with provider.serve([Text("stolen")]) as other:
        location = other.url.replace("127.0.0.1", "somebody:password@localhost")
        error = await fail(models, provider, Status(status, {"Location": f"{location}/else"}), on_token)
        assert other.requests == []
    assert type(error) is ModelRefused
    host = location.partition("@")[2].partition("/")[0]
    assert f"redirects to {host} ({status}), which isn't followed" in error.message
    assert "password" not in error.message


async def test_a_redirect_to_the_same_host_is_not_followed_either(provider: Provider, models: Models) -> None:
    error = await fail(models, provider, Status(307, {"Location": "/v2/else"}), None)
    assert "redirects to /v2/else (307)" in error.message


@STREAMED
async def test_a_redirect_that_says_no_host_is_refused(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = await fail(models, provider, Status(302), on_token)
    assert type(error) is ModelRefused
    assert "redirects without saying where (302), which isn't followed: name the address itself" in error.message


@STREAMED
async def test_an_address_of_the_environment_is_named_like_one_of_the_document(
    provider: Provider, on_token: OnToken | None
) -> None:
    async with provider.serve([Status(302)]) as server:
        settings = replace(provider.settings(server), api_base=None)
        async with open_models({**ENVIRON, base_variables(provider.name)[0]: server.url}, litellm=LITELLM) as models:
            with pytest.raises(ModelRefused) as caught:
                await models.reply(call_of(settings), on_token)
        assert len(server.requests) == 1
    assert f"{server.url} redirects" in caught.value.message


@STREAMED
async def test_a_header_of_the_document_that_replaces_the_key_is_blamed(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    headers = {"authorization": "Bearer mine-0123456789"}
    async with provider.serve([Status(401)]) as server:
        settings = provider.settings(server, extra={"extra_headers": headers})
        with pytest.raises(ModelRefused, match=r"the document's header authorization was not accepted \(401\)"):
            await models.reply(call_of(settings), on_token)
    if provider is DIRECT:
        assert server.requests[0].headers["authorization"] == headers["authorization"]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"X-Team": "a\r\nX-Admin: yes"}, "the header 'X-Team' contains the character U\\+000D"),
        ({"X-Team\n": "a"}, r"'X-Team\\n' can't be the name of a header"),
        ({"": "a"}, "'' can't be the name of a header"),
        ({"X Team": "a"}, "'X Team' can't be the name of a header"),
    ],
    ids=str,
)
async def test_a_header_that_http_cant_carry_is_refused(
    provider: Provider, models: Models, headers: dict[str, str], why: str
) -> None:
    async with provider.serve([Text("hi")]) as server:
        with pytest.raises(ModelRefused, match=why):
            await models.reply(call_of(provider.settings(server, extra={"extra_headers": headers})))
        assert server.requests == []


async def test_an_unknown_model_is_named(provider: Provider, models: Models) -> None:
    error = await fail(models, provider, Status(404, message="not here"), None)
    assert f"no model '{provider.model}'" in error.message
    assert error.message.endswith("not here")


@STREAMED
async def test_a_hang_is_a_timeout_and_ends_the_request(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    async with provider.serve([Hang(after=2)]) as server:
        with pytest.raises(ModelTimeout, match=r"no answer within 0\.3 s"):
            await models.reply(call_of(provider.settings(server, timeout=0.3)), on_token)
        await asyncio.wait_for(server.hung_up.wait(), 2)
        assert len(server.requests) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_cancelling_aborts_the_request(provider: Provider, models: Models, *, streamed: bool) -> None:
    first_token = asyncio.Event()
    async with provider.serve([Hang(after=2)]) as server:
        call = call_of(provider.settings(server))
        task = asyncio.create_task(models.reply(call, (lambda _: first_token.set()) if streamed else None))
        await (first_token if streamed else server.requested).wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.hung_up.wait(), 2)


async def test_an_address_where_nobody_listens_is_a_provider_error(provider: Provider, models: Models) -> None:
    if provider is OLLAMA:
        pytest.skip("an Ollama on this machine has an error of its own")
    with pytest.raises(ModelNeverRan, match="connect"):
        await models.reply(
            call_of(ModelSettings(provider.name, provider.model, api_base=f"http://127.0.0.1:{unused_port()}"))
        )


@pytest.mark.parametrize("extra", [{}, {"num_ctx": 4096}], ids=["direct", "through LiteLLM"])
async def test_an_ollama_that_is_away_has_to_be_started(direct_models: Models, extra: dict[str, int]) -> None:
    address = f"http://localhost:{unused_port()}"
    with pytest.raises(ModelRefused, match=r"is Ollama running\? Start it with `ollama serve`: can"):
        await direct_models.reply(call_of(ModelSettings("ollama", "llama3.2", api_base=address, extra=extra)))


def unused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"error": {"message": "The model `m` does not exist."}}', "no model 'm' at {url}: check its name"),
        (b'{"error": {"message": "?"}}', "no model 'm' at {url}, or the address is wrong: check both"),
        (b'{"detail": "Not Found"}', "no API of this kind at {url}: check the address"),
        (b"404 page not found", "no API of this kind at {url}: check the address"),
        (b"<html><title>nginx</title></html>", "no API of this kind at {url}: check the address"),
    ],
    ids=ascii,
)
@STREAMED
async def test_what_was_not_found_is_the_model_or_the_address(
    provider: Provider, models: Models, body: bytes, what: str, on_token: OnToken | None
) -> None:
    async with provider.serve([Raw(body, status=404)]) as server:
        with pytest.raises(ModelRefused) as caught:
            await models.reply(call_of(provider.settings(server, model="m")), on_token)
    assert f"{provider.name}/m: {what.replace('{url}', server.url)} (404): " in str(caught.value)


@STREAMED
@pytest.mark.parametrize("status", [400, 200])
async def test_a_reply_that_the_provider_found_to_be_no_json_is_worth_another_try(
    provider: Provider, models: Models, status: int, on_token: OnToken | None
) -> None:
    """Only Groq and its like do that: with a status, and within a stream."""
    error = {"message": "Failed to generate JSON", "type": "invalid_request_error", "code": "json_validate_failed"}
    answer = Raw(json.dumps({"error": error}).encode(), status=status, kind="application/json")
    failure = await fail(models, provider, Odd({"error": error}) if status == 200 else answer, on_token)
    assert failure.code == "invalid_output"
    assert "the model didn't write the JSON that was asked for: Failed to generate JSON" in failure.message
