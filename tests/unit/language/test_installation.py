"""What an installation knows and allows counts when a document is checked, not when it runs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from flowyard.language.installation import KEYS_AND_TOKENS, Installation, Variables, read_variables
from flowyard.language.load import load_text
from flowyard.language.nodes import PromptNode, TokenPrice
from flowyard.language.workflow import Budget
from flowyard.llm.keys import KEY_VARIABLES

NAMING = """\
flow: {name: naming}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: 'On {topic}', outputs: [poem], llm: {model: gpt-4o, api_key_env: AWS_SECRET_ACCESS_KEY}}
config:
  llm:
    provider: anthropic
    model: m
    api_key_env: TEAM_API_KEY
    extra: {headers: {X-A: '${env:HOME} ${env:TEAM_TOKEN} ${file:HOME}'}}
    fallbacks: [{provider: openai, model: m, api_key_env: FLOWYARD_SECRET_KEY}]
"""
UNPRICED = Installation(has_price=lambda settings: settings.provider != "hosted_vllm" or settings.price is not None)
DOCUMENT = """\
flow: {name: paid}
state: {fields: {topic: {type: str, required: true}, plan: str, poem: str}}
nodes:
  - {id: think, prompt: 'On {topic}', outputs: [plan]}
  - id: write
    prompt: '{plan}'
    outputs: [poem]
    llm: {model: qwen3-large}
config:
  llm:
    provider: hosted_vllm
    model: qwen3
    price: {input: 0.1, output: 0.40, cached_input: 0.025}
    fallbacks: [{provider: hosted_vllm, model: spare}]
  budget: {usd: 0.5}
"""


def problems(text: str, installation: Installation = UNPRICED) -> list[str]:
    return [problem.render("f.yaml") for problem in load_text(text, "f.yaml", installation).problems]


def test_a_model_without_a_price_cant_have_a_budget_in_dollars() -> None:
    message = "the price of hosted_vllm/{} isn't known, so config.budget.usd can't be enforced (add price: {{input: …,"
    spare, large = problems(DOCUMENT)[::-1]
    assert spare.startswith("f.yaml:14:48: " + message.format("spare"))
    assert large.startswith("f.yaml:8:18: " + message.format("qwen3-large"))
    assert spare.endswith("or limit tokens instead) [unknown-price]")


def test_a_model_without_a_price_cant_have_a_daily_budget_in_dollars() -> None:
    daily = {"paid": Budget(usd=Decimal(1)), "*": Budget(tokens=5000)}
    installation = replace(UNPRICED, daily_budgets=daily)
    unlimited = DOCUMENT.replace("usd: 0.5", "tokens: 5000")
    message = (
        "the price of hosted_vllm/qwen3-large isn't known, so its daily budget can't be enforced (add price: {input: …,"
    )
    assert problems(unlimited, installation)[0].startswith("f.yaml:8:18: " + message)
    assert len(problems(unlimited, installation)) == 2
    assert problems(unlimited.replace("paid", "other"), installation) == []


def test_without_a_budget_in_dollars_no_price_is_needed() -> None:
    assert problems(DOCUMENT.replace("usd: 0.5", "tokens: 5000")) == []


def test_a_price_belongs_to_its_model_and_is_exact() -> None:
    loaded = load_text(DOCUMENT.replace("qwen3-large", "qwen3, max_tokens: 5").replace("spare", "qwen3"), "f.yaml")
    assert loaded.workflow is not None
    own = TokenPrice(Decimal("0.1"), Decimal("0.40"), Decimal("0.025"))
    nodes = [node for node in loaded.workflow.nodes.values() if isinstance(node, PromptNode)]
    assert [node.settings.price for node in nodes] == [own, own]
    assert [str(node.settings.price and node.settings.price.output) for node in nodes] == ["0.40", "0.40"]
    assert [fallback.price for fallback in nodes[0].settings.fallbacks] == [None]


def test_a_document_names_no_variable_that_the_installation_doesnt_allow() -> None:
    shown = problems(NAMING, Installation(variables=KEYS_AND_TOKENS))
    assert [line.partition(": ")[0] for line in shown] == ["f.yaml:4:90", "f.yaml:10:28", "f.yaml:11:59"]
    allowed = "name another, or set FLOWYARD_DOCUMENT_VARIABLES=*_API_KEY,*_TOKEN,HOME"
    assert f"documents may not name the variable HOME ({allowed}) [variable-not-allowed]" in shown[1]
    every = Installation(variables=Variables(("*",)))
    assert [line.partition(": ")[0] for line in problems(NAMING, every)] == ["f.yaml:11:59"]


def test_each_variable_of_the_table_of_keys_may_be_named() -> None:
    names = {name for names in KEY_VARIABLES.values() for name in names}
    assert [name for name in names if not KEYS_AND_TOKENS.allow(name)] == []


def test_variables_are_allowed_by_name_or_pattern() -> None:
    variables = read_variables("TEAM_*, SEARCH_TOKEN")
    names = ("TEAM_KEY", "SEARCH_TOKEN", "OPENAI_API_KEY", "MY_TEAM_KEY", "team_key", "SEARCH_TOKEN_OLD")
    assert [name for name in names if variables.allow(name)] == ["TEAM_KEY", "SEARCH_TOKEN"]
    # Ours give access to our servers.
    assert [name for name in ("FLOWYARD_TOKEN", "Flowyard_Token") if read_variables("*").allow(name)] == []
    for text in ("A,,B", "A B", "[A-Z]*", "A?"):
        with pytest.raises(ValueError, match="should be names"):
            read_variables(text)
