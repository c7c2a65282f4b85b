"""What a call can cost is known before it is made, and is never less than what it then costs."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.models import Models, open_models
from flowyard.llm.terms import CANNED, FREE, Price, Terms
from flowyard.runs.budget import Quote
from support.wire.behaviour import Odd, Text
from support.wire.providers import OPENAI, PRICED, Provider


def call(provider: str, model: str = "m", *, schema: Any = None, **settings: Any) -> ModelCall:
    return ModelCall("a", ModelSettings(provider, model, **settings), (ChatMessage("user", "go"),), schema)


@pytest.mark.parametrize("provider", PRICED, ids=lambda provider: provider.name)
@pytest.mark.parametrize("cached", [0, 900])
async def test_no_call_costs_more_than_its_terms_say(models: Models, provider: Provider, cached: int) -> None:
    async with provider.serve([Text("done", tokens_in=1000, tokens_out=500, cached=cached)]) as server:
        call_made = ModelCall("a", provider.settings(server), (ChatMessage("user", "go"),))
        terms = await models.terms(call_made, 1000)
        reply = await models.reply(call_made)
    assert terms.price is not None
    assert reply.cost_usd is not None
    assert reply.cost_usd <= Quote(1000, terms.price.usd_in, terms.price.usd_out).amount(500).usd
    assert terms.uses_tokens


async def test_a_long_prompt_is_priced_as_one(models: Models) -> None:
    call_made = call("google", "gemini-2.5-pro")
    assert (await models.terms(call_made, 200_000)).price == Price(Decimal("0.00000125"), Decimal("0.00001"))
    assert (await models.terms(call_made, 200_001)).price == Price(Decimal("0.0000025"), Decimal("0.000015"))


async def test_what_goes_into_a_cache_may_cost_more(models: Models) -> None:
    terms = await models.terms(call("anthropic", "claude-haiku-4-5"), 10)
    assert terms.price == Price(Decimal("0.00000125"), Decimal("0.000005"))


async def test_what_stays_in_a_cache_for_an_hour_costs_twice_as_much(models: Models) -> None:
    extra = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    terms = await models.terms(call("anthropic", "claude-haiku-4-5", extra=extra), 10)
    assert terms.price == Price(Decimal("0.000002"), Decimal("0.000005"))


async def test_what_is_answered_faster_costs_more(models: Models) -> None:
    usual, fast = [
        (await models.terms(call("anthropic", "claude-opus-4-8", extra=extra), 10)).price
        for extra in ({}, {"speed": "fast"})
    ]
    assert usual is not None
    assert fast == Price(2 * usual.usd_in, 2 * usual.usd_out)


async def test_a_call_that_brings_prices_along_changes_none(models: Models) -> None:
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    async with OPENAI.serve([Text("done", tokens_in=1000, tokens_out=500)]) as server:
        settings = [OPENAI.settings(server, extra=extra) for extra in (free, {})]
        replies = [await models.reply(ModelCall("a", each, (ChatMessage("user", "go"),))) for each in settings]
    assert [reply.cost_usd for reply in replies] == [Decimal("0.00045")] * 2


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("extra", "tokens", "cost"),
    [
        ({}, ("0.00000015", "0.0000006"), "0.00045"),
        ({"service_tier": "auto"}, ("0.00000025", "0.000001"), "0.00045"),
        ({"service_tier": "priority"}, ("0.00000025", "0.000001"), "0.00075"),
        ({"extra_body": {"service_tier": "priority"}}, ("0.00000025", "0.000001"), "0.00075"),
        # The map has no price of it for this model.
        ({"service_tier": "flex"}, ("0.00000025", "0.000001"), None),
    ],
)
async def test_a_service_tier_has_prices_of_its_own(
    models: Models, extra: dict[str, str], tokens: tuple[str, str], cost: str | None, *, streamed: bool
) -> None:
    async with OPENAI.serve([Text("done", tokens_in=1000, tokens_out=500)]) as server:
        call_made = ModelCall("a", OPENAI.settings(server, extra=extra), (ChatMessage("user", "go"),))
        terms = await models.terms(call_made, 1000)
        reply = await models.reply(call_made, (lambda _: None) if streamed else None)
    assert terms.price == Price(Decimal(tokens[0]), Decimal(tokens[1]))
    assert reply.cost_usd == (Decimal(cost) if cost else None)


@pytest.mark.parametrize("tier", [["priority"], {"name": "default"}, 7])
async def test_a_tier_that_is_none_leaves_the_reply_and_its_cost_unknown(models: Models, tier: object) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", "index": 0}]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    identity = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": tier}
    async with OPENAI.serve([Odd({**identity, **answer, "usage": usage})]) as server:
        reply = await models.reply(ModelCall("a", OPENAI.settings(server), (ChatMessage("user", "go"),)))
    assert (reply.text, reply.cost_usd) == ("hi", None)


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("gpt-4o-search-preview", {}),
        ("gpt-4o", {"web_search_options": {}}),
        ("gpt-4o", {"extra_body": {"tools": [{"type": "web_search"}]}}),
    ],
)
async def test_the_cost_of_searches_is_unknown(models: Models, model: str, extra: dict[str, Any]) -> None:
    async with OPENAI.serve([Text("done")]) as server:
        call_made = ModelCall("a", OPENAI.settings(server, model=model, extra=extra), (ChatMessage("user", "go"),))
        terms = await models.terms(call_made, 10)
        reply = await models.reply(call_made)
    assert (terms.price, reply.cost_usd) == (None, None)


@pytest.mark.parametrize(
    ("tools", "is_known"),
    [
        ([{"type": "function", "function": {"name": "f"}}], True),
        ([{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}], False),
        ([{"googleSearch": {}}], False),
        (["f"], False),
        ("f", False),
    ],
)
async def test_functions_cost_no_more_than_their_tokens(models: Models, tools: Any, *, is_known: bool) -> None:
    settings = ModelSettings("openai", "gpt-4o-mini", extra={"tools": tools})
    terms = await models.terms(ModelCall("a", settings, (ChatMessage("user", "go"),)), 10)
    assert (terms.price is not None) is is_known


async def test_a_provider_that_always_searches_has_no_price_before_the_call(models: Models) -> None:
    assert (await models.terms(call("perplexity", "sonar"), 10)).price is None


async def test_how_long_a_reply_can_be_is_known_of_known_models(models: Models) -> None:
    assert (await models.terms(call("openai", "gpt-4o-mini"), 10)).longest == 16_384
    assert (await models.terms(call("openai", "no-such-model"), 10)) == Terms(None)


async def test_a_server_of_ones_own_has_no_price(models: Models) -> None:
    call_made = call("hosted_vllm", api_base="http://127.0.0.1:9/v1")
    assert await models.terms(call_made, 10) == Terms(None)


async def test_what_is_free_is_free_without_a_look_at_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flowyard.llm.litellm_model", None)
    async with open_models({}) as models:
        assert await models.terms(call("scripted"), 10) == CANNED
        assert await models.terms(call("ollama"), 10) == Terms(FREE)
        assert await models.terms(call("local"), 10) == Terms(FREE, 256)
        assert await models.terms(call("local", schema={}), 10) == Terms(FREE, 512)
