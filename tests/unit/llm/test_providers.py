"""The table of providers that are called directly."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, Usage
from flowyard.llm.models import Models, check_keys, open_models
from flowyard.llm.providers import DIRECT, base_url, is_direct, located, read_litellm_providers
from support.documents import ROOT
from support.lazily import litellm
from support.wire.behaviour import Odd, Text
from support.wire.openai import openai_server
from support.wire.providers import ENVIRON

KEYS = {**ENVIRON, **{provider.keys[0]: "sk-sesame-0123456789" for provider in DIRECT.values() if provider.keys}}


def call_of(provider: str, model: str, url: str | None = None, **settings: Any) -> ModelCall:
    return ModelCall("write", ModelSettings(provider, model, api_base=url, **settings), (ChatMessage("user", "Hi"),))


@pytest.mark.parametrize("provider", sorted(DIRECT))
async def test_each_provider_is_called_with_its_key_and_without_litellm(provider: str) -> None:
    async with openai_server([Text("hi")]) as server, open_models(KEYS) as models:
        reply = await models.reply(call_of(provider, "m", server.url), lambda _: None)
        assert "litellm" not in models._opened
    (request,) = server.requests
    assert reply.text == "hi"
    assert request.path == "/v1/chat/completions"
    needs_none = not DIRECT[provider].keys and provider != "openai_like"
    assert ("authorization" in request.headers) != needs_none


def test_every_address_is_in_the_documentation() -> None:
    documented = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    missing = [n for n, p in DIRECT.items() if not re.search(rf"`{n}`.*\| .*`{p.base or 'api_base'}`", documented)]
    assert missing == []


def test_models_that_have_another_format_are_called_through_litellm() -> None:
    other = [
        ModelSettings(entry["litellm_provider"], name.removeprefix(f"{entry['litellm_provider']}/"))
        for name, entry in litellm.model_cost.items()
        if entry.get("mode") == "responses" and entry["litellm_provider"] in DIRECT
    ]
    assert len(other) > 20
    assert [model for model in other if is_direct(model, ())] == []


@pytest.mark.parametrize(
    ("settings", "direct"),
    [
        (ModelSettings("openai", "gpt-4o-mini"), True),
        (ModelSettings("openai", "my-codex", api_base="http://localhost:1"), True),
        (ModelSettings("ollama", "llama3.2", extra={"seed": 7}), True),
        (ModelSettings("ollama", "llama3.2", extra={"num_ctx": 32_000}), False),
        (ModelSettings("anthropic", "claude-haiku-4-5"), False),
    ],
    ids=str,
)
def test_who_is_called_directly(settings: ModelSettings, direct: bool) -> None:  # noqa: FBT001
    assert is_direct(settings, ()) == direct
    assert not is_direct(settings, {"all"})
    assert not is_direct(settings, {settings.provider})


def test_the_setting_names_known_providers() -> None:
    assert read_litellm_providers(" openai, groq") == {"openai", "groq"}
    with pytest.raises(ValueError, match="no such provider: opnai"):
        read_litellm_providers("opnai")


async def test_the_setting_takes_a_provider_to_litellm() -> None:
    async with openai_server([Text("hi")]) as server, open_models(KEYS, litellm={"openai"}) as models:
        await models.reply(call_of("openai", "gpt-4o-mini", server.url))
        assert list(models._opened) == ["litellm"]


def test_the_environment_may_name_the_address() -> None:
    environ = {"OLLAMA_API_BASE": "http://ollama:11434", "OPENAI_BASE_URL": "http://gateway/v1"}
    assert base_url(located(ModelSettings("ollama", "m"), environ)) == "http://ollama:11434/v1"
    assert base_url(located(ModelSettings("openai", "m"), environ)) == "http://gateway/v1"
    assert base_url(located(ModelSettings("openai", "m", api_base="http://mine/v2"), environ)) == "http://mine/v2"
    assert base_url(located(ModelSettings("groq", "m"), environ)) == "https://api.groq.com/openai/v1"


@pytest.mark.parametrize("provider", sorted(DIRECT))
def test_an_address_without_a_path_gets_the_providers_own(provider: str) -> None:
    own = re.sub(r"^https?://[^/]+", "", DIRECT[provider].base or "https://any/v1")
    for ending in ("", "/", own, f"{own}/", f"{own}/chat/completions"):
        assert base_url(ModelSettings(provider, "m", api_base=f"http://here:81{ending}")) == f"http://here:81{own}"
    assert base_url(ModelSettings(provider, "m", api_base="http://here/any/path/")) == "http://here/any/path"


async def test_an_address_of_the_environment_is_checked_when_it_is_used() -> None:
    async with open_models({**KEYS, "OPENAI_BASE_URL": "http://somebody:password@127.0.0.1:9/v1"}) as models:
        with pytest.raises(ModelRefused, match="the variable OPENAI_BASE_URL contains a user or a password") as caught:
            await models.reply(call_of("openai", "m"))
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("openai", "OPENAI_BASE_URL"),
        ("openai", "OPENAI_API_BASE"),
        ("anthropic", "ANTHROPIC_API_BASE"),
        ("anthropic", "ANTHROPIC_BASE_URL"),
        ("google", "GEMINI_API_BASE"),
        ("cohere", "COHERE_API_BASE"),
    ],
)
def test_an_address_of_the_environment_is_checked_before_a_run(provider: str, variable: str) -> None:
    environ = {**ENVIRON, "COHERE_API_KEY": "k", variable: "http://somebody:password@127.0.0.1:9/v1"}
    with pytest.raises(ModelRefused, match=f"the variable {variable} contains a user or a password") as caught:
        check_keys([ModelSettings(provider, "m")], environ)
    assert "somebody" not in str(caught.value)


async def test_a_server_without_an_address_is_refused() -> None:
    async with open_models({"TEAM_API_KEY": "k"}) as models:
        with pytest.raises(
            ModelRefused, match="its api_base is missing: write it into the document, or set OPENAI_LIKE_API_BASE"
        ):
            await models.reply(call_of("openai_like", "m", api_key_env="TEAM_API_KEY"))


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        ("openai", "gpt-4o-mini", {"max_tokens": 7, "stream_options": {"include_usage": True}}),
        ("openai", "gpt-5-mini", {"max_completion_tokens": 7}),
        ("openai", "o3", {"max_completion_tokens": 7}),
        ("mistral", "mistral-small-latest", {"max_tokens": 7, "stream_options": None}),
        ("fireworks_ai", "kimi-k2", {"model": "accounts/fireworks/models/kimi-k2"}),
        ("fireworks_ai", "accounts/mine/models/m", {"model": "accounts/mine/models/m"}),
    ],
)
async def test_each_provider_gets_what_it_knows(provider: str, model: str, sent: dict[str, Any]) -> None:
    async with openai_server([Text("hi")]) as server, open_models(KEYS) as models:
        call = call_of(provider, model, server.url, max_tokens=7, extra={"extra_body": {"top_k": 3}})
        await models.reply(call, lambda _: None)
    body = server.requests[0].body
    assert {name: body.get(name) for name in sent} == sent
    assert body["top_k"] == 3
    assert ("max_tokens" in body) != ("max_completion_tokens" in body)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("model", "tier", "cost"),
    [("gpt-4o-mini", None, "0.00042"), ("gpt-4o-mini", "priority", "0.0007"), ("mine", None, None)],
)
async def test_a_direct_call_has_its_cost(
    direct_models: Models, model: str, tier: str | None, cost: str | None, *, streamed: bool
) -> None:
    said = {"role": "assistant", "content": "done"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 400}}
    answer = {
        "choices": [{"message": said, "delta": said, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": tier,
    }
    async with openai_server([Odd(answer)]) as server:
        reply = await direct_models.reply(call_of("openai", model, server.url), (lambda _: None) if streamed else None)
    assert reply.usage == Usage(1000, 500, 400)
    assert reply.cost_usd == (Decimal(cost) if cost else None)


async def test_what_xai_counts_apart_is_part_of_the_reply(direct_models: Models) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    details = {"completion_tokens_details": {"reasoning_tokens": 100}}
    answer = {"choices": [{"message": {"content": "hi"}}], "usage": usage | details}
    async with openai_server([Odd(answer)]) as server:
        reply = await direct_models.reply(call_of("openai", "m", server.url))
    assert reply.usage == Usage(10, 105)


async def test_the_terms_of_a_direct_model_are_known_without_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flowyard.llm.litellm_model", None)
    async with open_models(KEYS) as models:
        terms = await models.terms(call_of("openai", "gpt-4o-mini"), 10)
    assert terms.price is not None
    assert (terms.price.usd_out, terms.longest) == (Decimal("0.0000006"), 16_384)
