"""The document of the assistant, and the guide that its model gets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from flowyard.drafts.assistant import Facts, assistant_document, guide
from flowyard.drafts.blocks import documents_in
from flowyard.drafts.keys import described_keys
from flowyard.language.installation import HOOK_SECRETS, KEYS_AND_TOKENS, Installation
from flowyard.language.load import load_text
from flowyard.language.nodes import ModelSettings
from flowyard.language.reading.document import document_schema
from flowyard.language.tools import read_rules
from flowyard.llm.own_prices import NO_PRICES
from flowyard.tools.registry import ToolRegistry
from support.documents import ROOT, faults_of

MOST_TOKENS = 6_000
GPT = ModelSettings("openai", "gpt-5")
FACTS = Facts(
    models=["openai/gpt-5", "ollama/llama3.2", "any of anthropic", "any of google"],
    variables=str(KEYS_AND_TOKENS),
    hook_variables=str(HOOK_SECRETS),
    tools=Facts.of(Installation(tools=ToolRegistry().facts), []).tools,
)
INSTALLATION = Installation(has_price=NO_PRICES.has_price, variables=KEYS_AND_TOKENS, hook_variables=HOOK_SECRETS)


@pytest.mark.parametrize(
    ("model", "usd"),
    [(GPT, "2.00"), (ModelSettings("hosted_vllm", 'a "quoted" #name: {x}'), None)],
    ids=["paid", "own"],
)
async def test_the_document_is_valid_and_passes_its_tests(model: ModelSettings, usd: str | None) -> None:
    loaded = load_text(assistant_document(model, FACTS, usd=usd), "assistant.yaml", INSTALLATION)
    assert [problem.render("assistant.yaml") for problem in loaded.problems] == []
    assert loaded.workflow is not None
    assert loaded.workflow.models[0].model == model.model
    assert len(loaded.workflow.cases) == 3
    for case in loaded.workflow.cases:
        assert await faults_of(case, loaded.workflow) == []


async def test_the_examples_in_the_guide_are_valid_and_pass_their_tests() -> None:
    examples = documents_in(guide(GPT, FACTS, usd="2.00"))
    assert len(examples) == 2
    for example in examples:
        loaded = load_text(example.text, "example.yaml", INSTALLATION)
        assert [problem.render("example.yaml") for problem in loaded.problems] == []
        assert loaded.workflow is not None
        for case in loaded.workflow.cases:
            assert await faults_of(case, loaded.workflow) == []


def test_the_guide_names_the_tools_that_may_be_used_and_says_which_need_permission() -> None:
    installation = Installation(tools=ToolRegistry().facts, tool_rules=read_rules('{"math.*": "deny"}'))
    text = guide(GPT, Facts.of(installation, []), usd=None)
    assert "http.get*, " in text
    assert "time.now" in text
    assert "math.eval" not in text
    assert "It has no tools." in guide(GPT, Facts(), usd=None)


def test_the_guide_has_few_tokens() -> None:
    """By the tokenizer that LiteLLM brings, in a process of its own: its import takes seconds."""
    program = "import json, sys, litellm; print(litellm.token_counter(model='gpt-4o', text=json.load(sys.stdin)))"
    text = json.dumps(guide(GPT, FACTS, usd="2.00"))
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True, env=environment
    )
    tokens = int(done.stdout)
    assert tokens <= MOST_TOKENS
    said = re.search(r"about ([\d,]+) tokens", (ROOT / "docs" / "assistant.md").read_text(encoding="utf-8"))
    assert said is not None
    assert int(said[1].replace(",", "")) == pytest.approx(tokens, rel=0.05)


def test_the_guide_is_the_same_each_time_and_knows_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    first = guide(GPT, FACTS, usd="2.00")
    assert first == guide(GPT, FACTS, usd="2.00")
    assert "sk-canary" not in first
    assert "ollama/llama3.2" in first


def test_a_model_without_a_price_gets_no_amount_in_dollars() -> None:
    text = guide(ModelSettings("hosted_vllm", "m"), Facts(), usd=None)
    assert "budget: {model_calls: 4}\n" in text


def test_each_key_of_the_language_is_described_in_a_line() -> None:
    lines = described_keys(document_schema()).splitlines()
    assert " name*: text. Name of the workflow, unique in an installation" in lines
    assert "  max_iterations*: int. Maximum number of iterations" in lines
    assert "  exit_to: text = END. The node after the loop" in lines
    assert " llm: as nodes.llm. The model of all nodes that don't select another in llm" in lines
    assert "  overlap: skip | queue | cancel_previous | allow = skip" in "\n".join(lines)
    assert not [line for line in lines if "storage" in line]


def test_keys_can_be_left_out() -> None:
    without = described_keys(document_schema(), without={"triggers", "config.llm"})
    assert "triggers" not in without
    assert " budget: mapping" in without
    assert "\n llm: as" not in without
