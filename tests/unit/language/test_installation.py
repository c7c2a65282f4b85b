"""What an installation knows and allows counts when a document is checked, not when it runs."""

from __future__ import annotations

from decimal import Decimal

from flowyard.language.installation import Installation
from flowyard.language.load import load_text
from flowyard.language.nodes import PromptNode, TokenPrice

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
    message = "the price of hosted_vllm/{} isn't known, so config.budget.usd can't be kept (add price: {{input: …,"
    spare, large = problems(DOCUMENT)[::-1]
    assert spare.startswith("f.yaml:14:48: " + message.format("spare"))
    assert large.startswith("f.yaml:8:18: " + message.format("qwen3-large"))
    assert spare.endswith("or limit tokens instead) [unknown-price]")


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
