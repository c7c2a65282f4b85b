"""Prices of one's own count before any list, for reservations and costs; a missing one is known before a run."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings, TokenPrice
from flowyard.llm.calls import ChatMessage, ModelCall, Usage
from flowyard.llm.litellm_prices import price_of
from flowyard.llm.models import open_models
from flowyard.llm.own_prices import PriceTable, cost_at, listed_price, read_prices
from flowyard.llm.terms import FREE, LITELLM_NAMES, Price
from support.priced_models import FILE, priced_models
from support.wire.behaviour import Text
from support.wire.providers import ANTHROPIC, DIRECT, ENVIRON, GOOGLE, OPENAI, Provider

OWN = TokenPrice(Decimal("0.1"), Decimal("0.4"), Decimal("0.025"))
TABLE = PriceTable({"hosted_vllm/qwen3": OWN, "hosted_vllm/*": TokenPrice(Decimal(1), Decimal(2))})


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, GOOGLE, DIRECT], ids=lambda provider: provider.name)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_costs_what_the_document_says_with_the_price_of_what_was_cached(
    provider: Provider, *, streamed: bool
) -> None:
    async with (
        provider.serve([Text("done", tokens_in=1000, tokens_out=500, cached=400)]) as server,
        open_models(ENVIRON, prices=TABLE) as models,
    ):
        own = TokenPrice(Decimal("0.2"), Decimal("0.8"), Decimal("0.05"))
        call = ModelCall("a", provider.settings(server, price=own), (ChatMessage("user", "go"),))
        terms = await models.terms(call, 1000)
        reply = await models.reply(call, (lambda _: None) if streamed else None)
    assert terms.price == Price(Decimal("0.0000002"), Decimal("0.0000008"))
    assert reply.cost_usd == Decimal("0.00054")


@pytest.mark.parametrize(("model", "cost"), [("qwen3", "0.0003"), ("another", "0.002")])
async def test_the_table_of_an_installation_names_models_or_all_others(model: str, cost: str) -> None:
    async with (
        DIRECT.serve([Text("done", tokens_in=1000, tokens_out=500)]) as server,
        open_models(ENVIRON, prices=TABLE) as models,
    ):
        reply = await models.reply(ModelCall("a", DIRECT.settings(server, model=model), (ChatMessage("user", "go"),)))
    assert reply.cost_usd == Decimal(cost)


async def test_a_reply_without_token_counts_costs_an_unknown_amount() -> None:
    async with DIRECT.serve([Text("done", counted=False)]) as server, open_models(ENVIRON, prices=TABLE) as models:
        reply = await models.reply(ModelCall("a", DIRECT.settings(server), (ChatMessage("user", "go"),)))
    assert reply.cost_usd is None


def test_cached_tokens_cost_as_much_as_others_unless_they_have_a_price() -> None:
    assert cost_at(TokenPrice(Decimal(3), Decimal(15)), Usage(1_000_000, 0, 900_000)) == 3
    # A provider that reports more of them than the prompt has.
    assert cost_at(OWN, Usage(100, 0, 900_000)) == Decimal("0.0000025")


def test_the_list_of_priced_models_is_that_of_litellm() -> None:
    listed = FILE.read_text(encoding="utf-8") == priced_models()
    assert listed, "run: PYTHONPATH=tests python tests/support/priced_models.py"


def test_listed_prices_are_those_of_the_longest_prompts_without_litellm() -> None:
    known = 0
    for provider in ("openai", "anthropic", "google", "groq", "mistral", "deepseek"):
        for model in _models_of(LITELLM_NAMES.get(provider, provider)):
            settings = ModelSettings(provider, model)
            price = price_of(LITELLM_NAMES.get(provider, provider), settings, prompt=10**9)
            assert listed_price(settings) == price, model
            known += price is not None
    assert known > 100


def _models_of(provider: str) -> list[str]:
    lines = [line.split(" ", 3) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [name.removeprefix(f"{provider}/") for of, _, _, name in lines if of == provider]


def test_a_listed_price_is_unknown_where_it_may_be_another() -> None:
    assert listed_price(ModelSettings("ollama", "llama3.2")) == FREE
    assert listed_price(ModelSettings("openai", "gpt-4o-mini")) == Price(Decimal("0.00000015"), Decimal("0.0000006"))
    assert listed_price(ModelSettings("openai", "gpt-4o-mini", extra={"service_tier": "priority"})) is None
    assert listed_price(ModelSettings("openai", "gpt-4o-search-preview")) is None
    assert listed_price(ModelSettings("openai", "gpt-unheard-of")) is None


@pytest.mark.parametrize(
    ("provider", "model", "extra"),
    [
        ("openai", "gpt-4o-mini", {}),
        ("openai", "no-such-model", {}),
        ("openai", "gpt-4o", {"web_search_options": {}}),
        ("openai", "claude-sonnet-4-5", {}),
        ("anthropic", "claude-sonnet-4-5", {}),
        ("google", "gemini-2.5-flash", {}),
        ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0", {}),
        ("groq", "llama-3.1-8b-instant", {}),
        ("perplexity", "sonar", {}),
        ("hosted_vllm", "qwen3", {}),
        ("ollama_chat", "qwen3", {}),
    ],
)
def test_whether_a_price_is_known_is_the_same_without_litellm(provider: str, model: str, extra: dict[str, Any]) -> None:
    settings = ModelSettings(provider, model, extra=extra)
    price = price_of(LITELLM_NAMES.get(provider, provider), settings, prompt=1)
    assert PriceTable().has_price(settings) is (price is not None)


def test_amounts_of_a_table_are_exact() -> None:
    table = read_prices('{"openai/gpt-9": {"input": 0.1, "output": "0.4", "cached_input": 0}}')
    assert table.prices == {"openai/gpt-9": TokenPrice(Decimal("0.1"), Decimal("0.4"), Decimal(0))}


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("{", "should be JSON such as"),
        ("[]", "should be a mapping of models to prices"),
        ('{"qwen3": {"input": 1, "output": 1}}', "'qwen3', which is no model: write provider/model"),
        ('{"opnai/x": {"input": 1, "output": 1}}', "but no provider is called 'opnai' (did you mean 'openai'?)"),
        ('{"openai/x": {"input": NaN, "output": 1}}', "NaN is no amount"),
        ('{"openai/x": {"input": "inf", "output": 1}}', "with at most 30 decimal places for 'openai/x.input', not inf"),
        ('{"ollama/x": {"input": 1, "output": 1}}', "calls of ollama cost nothing"),
        ('{"openai/x": {"input": 1}}', "should have input and output for 'openai/x'"),
        ('{"openai/x": {"input": 1, "output": 1, "cached": 1}}', "has 'cached' for 'openai/x', which is no price"),
        (
            '{"openai/x": {"input": -1, "output": 1}}',
            "an amount from 0 to 1,000,000 with at most 30 decimal places for 'openai/x.input', not -1",
        ),
        ('{"openai/x": {"input": 1, "output": "much"}}', "for 'openai/x.output', not much"),
        ('{"openai/x": {"input": 1e-31, "output": 1}}', "for 'openai/x.input', not 1E-31"),
        ('{"openai/x": {"input": "1e-31", "output": 1}}', "for 'openai/x.input', not 1e-31"),
        ('{"openai/x": {"input": 1e-9999999999999999999, "output": 1}}', "the exponent of 1e-9999999999999999999 is"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text: str, because: str) -> None:
    with pytest.raises(ValueError, match=re.escape(because)):
        read_prices(text)
